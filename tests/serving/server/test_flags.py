import dataclasses

import pytest

from serving.server.flags import FlagError, ServerOptions, parse_flags, usage

BASE = "--model_base_path=/models/m"


def parse(*arguments):
    options, _ = parse_flags([BASE, *arguments])
    return options


class TestValues:
    def test_defaults_are_the_stock_servers(self):
        options = parse()
        assert (options.port, options.rest_api_port, options.model_name) == (8500, 0, "default")
        assert (options.max_num_load_retries, options.load_retry_interval_micros) == (5, 60_000_000)
        assert (options.file_system_poll_wait_seconds, options.rest_api_timeout_in_ms) == (1, 30_000)
        assert (options.enable_model_warmup, options.enable_profiler, options.enable_batching) == (True, True, False)

    def test_only_this_machine_is_answered_unless_told_otherwise(self):
        assert parse().host == "127.0.0.1"
        assert parse("--host=0.0.0.0").host == "0.0.0.0"

    def test_all_48_flags_are_known(self):
        assert sum(not field.metadata["ours"] for field in dataclasses.fields(ServerOptions)) == 48

    @pytest.mark.parametrize(("argument", "value"), [("--enable_batching", True), ("--enable_batching=true", True)])
    def test_booleans_stand_alone_or_have_a_value(self, argument, value):
        assert parse(argument).enable_batching is value

    def test_booleans_can_be_switched_off(self):
        assert parse("--enable_model_warmup=false").enable_model_warmup is False

    def test_a_value_may_hold_equals_signs_and_be_empty(self):
        assert parse("--grpc_channel_arguments=grpc.max_connection_age_ms=2000").grpc_channel_arguments == (
            "grpc.max_connection_age_ms=2000"
        )
        assert parse("--grpc_socket_path=").grpc_socket_path == ""

    def test_the_last_of_several_counts(self):
        assert parse("--port=1", "--port=2").port == 2

    def test_negative_numbers(self):
        assert parse("--file_system_poll_wait_seconds=-1").file_system_poll_wait_seconds == -1

    def test_channel_arguments_are_numbers_where_they_can_be(self):
        options = parse("--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.lb=x=y,grpc.big=99999999999")
        assert options.channel_arguments == [
            ("grpc.max_connection_age_ms", 2000),
            ("grpc.lb", "x=y"),
            ("grpc.big", "99999999999"),
        ]
        assert parse().channel_arguments == []

    def test_threads_are_set_together_or_apart(self):
        together = parse("--tensorflow_session_parallelism=3")
        assert (together.intra_op_threads, together.inter_op_threads) == (3, 3)
        apart = parse("--tensorflow_intra_op_parallelism=2", "--tensorflow_session_parallelism=3")
        assert (apart.intra_op_threads, apart.inter_op_threads) == (2, 0)

    def test_tags(self):
        assert parse("--saved_model_tags=serve,gpu").tags == ("serve", "gpu")


class TestRefusals:
    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            ("--model_config_fle=x", "Unknown flag: --model_config_fle; did you mean --model_config_file?"),
            ("--zzz", "Unknown flag: --zzz; --help lists all flags."),
            ("port=1", "Unknown argument: port=1. Flags are written --name=value."),
            ("-port=1", "Unknown argument: -port=1"),
            ("--port", "--port needs a value: --port=VALUE, in one word."),
            ("--port=", "Couldn't interpret value  for flag port; it takes a whole number"),
            ("--port=85OO", "Couldn't interpret value 85OO for flag port"),
            ("--port=1_000", "Couldn't interpret value 1_000"),
            ("--max_num_load_retries=3000000000", "Couldn't interpret value 3000000000"),
            ("--enable_batching=yes", "Couldn't interpret value yes for flag enable_batching; write --enable_batching"),
            ("--per_process_gpu_memory_fraction=half", "it takes a number"),
            ("--port=70000", "--port takes 0 to 65535, got 70000"),
            ("--rest_api_port=8500", "--rest_api_port must differ from --port, both are 8500"),
            ("--port=0", "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."),
            (
                "--batching_parameters_file=x",
                "batching_parameters_file is set without setting server_options.enable_batching to true.",
            ),
            ("--use_alts_credentials", "use --ssl_config_file for TLS"),
            ("--grpc_max_threads=0", "--grpc_max_threads takes a number above 0, got 0"),
        ],
    )
    def test_say_what_is_wrong_and_what_to_write(self, argument, message):
        with pytest.raises(FlagError) as error:
            parse(argument)
        assert message in str(error.value)

    def test_no_model(self):
        with pytest.raises(
            FlagError, match="Both server_options.model_base_path and server_options.model_config_file are empty!"
        ):
            parse_flags([])

    def test_threads_set_both_together_and_apart(self):
        with pytest.raises(FlagError, match="You cannot configure all"):
            parse(*(f"--tensorflow_{kind}_parallelism=2" for kind in ("session", "intra_op", "inter_op")))

    def test_the_version_needs_no_model(self):
        assert parse_flags(["--version"])[0].version

    def test_a_socket_needs_no_port(self):
        assert parse("--port=0", "--grpc_socket_path=/tmp/s").port == 0


class TestFlagsWithoutMeaning:
    def test_are_accepted_with_a_reason(self):
        options, warnings = parse_flags([BASE, "--mixed_precision=bfloat16", "--per_process_gpu_memory_fraction=0.5"])
        assert options.mixed_precision == "bfloat16"
        assert warnings == [
            "--mixed_precision has no effect here: models run in the precision they were exported with.",
            "--per_process_gpu_memory_fraction has no effect here: models run on the CPU.",
        ]

    def test_are_not_mentioned_unless_given(self):
        assert parse_flags([BASE, "--enable_batching"])[1] == []


def test_help_shows_every_flag_with_its_default():
    text = usage("server")
    for field in dataclasses.fields(ServerOptions):
        assert f"  --{field.name}=" in text
    assert '--host="127.0.0.1"' in text
    assert "--enable_model_warmup=true" in text
