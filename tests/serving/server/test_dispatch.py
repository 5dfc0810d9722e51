"""Which requests are answered where they were taken."""

from serving.messages import ModelSpec, PredictRequest
from serving.server.dispatch import Dispatch

PREDICT = "/Predict"
QUICK, SLOW = 0.0001, 0.01


def request(model="intents", signature=""):
    return PredictRequest(model_spec=ModelSpec(name=model, signature_name=signature)).SerializeToString()


def in_pool(dispatch, message, seconds, times):
    for _ in range(times):
        dispatch.pace(PREDICT, message).pooled(message, seconds)


def stays(dispatch, message):
    return dispatch.pace(PREDICT, message).keeps(message)


def staying(message):
    dispatch = Dispatch()
    in_pool(dispatch, message, QUICK, 8)
    assert stays(dispatch, message)
    return dispatch


def test_requests_go_to_the_pool_until_they_are_known_to_be_quick():
    dispatch, message = Dispatch(), request()
    in_pool(dispatch, message, QUICK, 7)
    assert not stays(dispatch, message)
    in_pool(dispatch, message, QUICK, 1)
    assert stays(dispatch, message)


def test_slow_ones_never_stay():
    dispatch, message = Dispatch(), request()
    for _ in range(100):
        in_pool(dispatch, message, QUICK, 7)
        in_pool(dispatch, message, SLOW, 1)
    assert not stays(dispatch, message)


def test_models_and_signatures_are_judged_by_themselves():
    dispatch = staying(request("intents"))
    assert not stays(dispatch, request("large"))
    assert not stays(dispatch, request("intents", "embed"))
    assert not dispatch.pace("/Classify", request("intents")).keeps(request("intents"))


def test_a_large_request_goes_to_the_pool_and_says_nothing_of_small_ones():
    message = request()
    large = message + b"\x12" + b"x" * 20_000
    dispatch = staying(message)
    assert not stays(dispatch, large)
    other = Dispatch()
    in_pool(other, large, QUICK, 100)
    assert not stays(other, message)


def test_one_slow_request_among_quick_ones_changes_nothing():
    message = request()
    dispatch = staying(message)
    for _ in range(100):
        for seconds in (QUICK, SLOW, QUICK):
            dispatch.pace(PREDICT, message).stayed(seconds)
    assert stays(dispatch, message)


def test_a_model_that_becomes_slow_goes_to_the_pool_and_comes_back_later_each_time():
    message = request()
    dispatch = staying(message)
    held = []
    for _ in range(3):
        for _ in range(16):
            assert stays(dispatch, message)
            dispatch.pace(PREDICT, message).stayed(SLOW)
        count = 0
        while not stays(dispatch, message):
            in_pool(dispatch, message, QUICK, 1)
            count += 1
        held.append(count)
    assert held == [64 + 8, 128 + 8, 256 + 8]


def test_one_request_that_holds_up_everybody_is_enough():
    message = request()
    dispatch = staying(message)
    dispatch.pace(PREDICT, message).stayed(0.1)
    assert not stays(dispatch, message)


def test_names_that_clients_make_up_take_bounded_memory():
    dispatch = Dispatch()
    for number in range(10_000):
        dispatch.pace(PREDICT, request(f"model {number}"))
    assert len(dispatch._paces) <= 256


def test_any_bytes_have_a_pace():
    dispatch = Dispatch()
    for message in (b"", b"\x0a", b"\x0a\xff\x01", b"\xff" * 100, b"\x0a\x7f"):
        assert not dispatch.pace(PREDICT, message).keeps(message)
