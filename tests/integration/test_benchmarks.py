"""What the benchmarks hold the plugin against still runs; how fast it is they say themselves."""

from tests.integration.command_line import CHECKOUT, MODEL, OPTIMIZER, run


def test_the_naive_version_trains_on_what_the_plugin_trains_on(toy_data, tmp_path):
    log = run(
        "fairseq_cli.train",
        [str(toy_data), "--user-dir", str(CHECKOUT / "benchmarks" / "naive_ikd")],
        f"--task multimodal_translation --arch naive_ikd_tiny {MODEL} --backbone efficientnet_lite0",
        "--image-size 64 --criterion naive_distillation --label-smoothing 0.1 --use-old-adam",
        OPTIMIZER,
        f"--max-tokens 100 --max-update 2 --no-save --disable-validation --save-dir {tmp_path}",
    )
    assert '"num_updates": "2"' in log
