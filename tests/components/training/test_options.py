import pytest
from pydantic import ValidationError

from components.training.options import ModelOptions, NgramsOptions, TokensOptions, WindowOptions


class TestEncoder:
    @pytest.mark.parametrize(
        ("name", "options"), [("ngrams", NgramsOptions()), ("tokens", TokensOptions()), ("window", WindowOptions())]
    )
    def test_name_may_stand_alone(self, name, options):
        assert ModelOptions(encoder=name).encoder == options

    def test_may_carry_its_options(self):
        assert ModelOptions(encoder={"name": "tokens", "widths": [2]}).encoder.widths == (2,)

    @pytest.mark.parametrize(
        ("encoder", "message"),
        [
            ("transformer", "'ngrams', 'tokens', 'window'"),
            ({"name": "tokens", "buckets": 5}, "Extra inputs are not permitted"),
            ({"name": "ngrams", "characters": [0]}, "greater than 0"),
            ({"name": "ngrams", "words": []}, "at least 1 item"),
            ({"name": "window", "width": 8}, "width is odd, as one word stands in the middle; received 8"),
        ],
    )
    def test_is_closed(self, encoder, message):
        with pytest.raises(ValidationError, match=message):
            ModelOptions(encoder=encoder)


class TestAbstain:
    def test_is_off_by_default(self):
        assert ModelOptions().abstain is None

    @pytest.mark.parametrize(
        ("abstain", "message"),
        [
            ({"out_of_scope": "other"}, "target_precision\n  Field required"),
            ({"target_precision": 0}, "greater than 0"),
            ({"target_precision": 95}, "less than or equal to 1"),
            ({"target_precision": 0.9, "threshold": 0.5}, "Extra inputs are not permitted"),
        ],
    )
    def test_takes_a_share_and_a_label(self, abstain, message):
        with pytest.raises(ValidationError, match=message):
            ModelOptions(abstain=abstain)


@pytest.mark.parametrize("encoder", ["ngrams", "tokens", "window"])
def test_options_round_trip_through_json(encoder):
    options = ModelOptions(encoder=encoder, epochs=3, abstain={"target_precision": 0.9, "out_of_scope": "other"})
    assert ModelOptions.model_validate_json(options.model_dump_json()) == options


class TestDistribution:
    def test_trains_alone_unless_it_is_asked_for(self):
        assert ModelOptions().distribution.strategy == "none"

    def test_a_strategy_may_stand_alone(self):
        assert ModelOptions.model_validate({"distribution": "mirrored"}).distribution.strategy == "mirrored"

    def test_jobs_are_for_several_machines(self):
        ModelOptions.model_validate({"distribution": {"strategy": "multi_worker", "jobs": "/shared"}})
        with pytest.raises(ValidationError, match="jobs is for the strategy multi_worker; received strategy 'mirrored'"):
            ModelOptions.model_validate({"distribution": {"strategy": "mirrored", "jobs": "/shared"}})


class TestPrecision:
    def test_is_single_unless_it_is_asked_for(self):
        assert ModelOptions().precision == "float32"

    def test_is_closed(self):
        with pytest.raises(ValidationError, match="'float32', 'mixed_float16' or 'mixed_bfloat16'"):
            ModelOptions.model_validate({"precision": "float16"})


class TestXla:
    def test_is_off_unless_it_is_asked_for(self):
        assert not ModelOptions().xla

    def test_is_for_one_device(self):
        with pytest.raises(ValidationError, match="xla is for training on one device; received strategy 'mirrored'"):
            ModelOptions.model_validate({"xla": True, "distribution": "mirrored"})
