# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The same training on one process or several, with accumulated gradients, in bf16, compiled, and in shards."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import FullyShardedDataParallelPlugin
from safetensors.torch import load_file

from hyperset_lab.checkpoints import defects
from hyperset_lab.images.task import main
from hyperset_lab.run import leave_processes
from hyperset_lab.trainer import ScriptTrainer
from modeling_hyperset import HyperSETConfig, HyperSETForImageClassification
from modeling_hyperset.layers_hyperset import HyperSETLayer
from support.builders import threads
from support.processes import in_a_process
from transformers import AutoModelForImageClassification


ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
CONFIGS = SCRIPTS / "accelerate"
SCRIPT = SCRIPTS / "run_image_classification.py"
LAUNCHED = Path(__file__).parents[1] / "support" / "launched.py"
# Six steps of 16 images over two epochs, the last batch of an epoch whole; no dropout.
FLAGS = [
    str(SCRIPTS / "recipes" / "digits.yaml"),
    "--config_overrides",
    '{"hidden_size": 16, "num_attention_heads": 2, "num_iterations": 3, "image_size": 8}',
    *("--max_train_samples", "48", "--max_eval_samples", "24", "--num_train_epochs", "2", "--use_cpu"),
    *("--label_smoothing_factor", "0.1", "--logging_strategy", "steps", "--logging_steps", "1"),
    *("--disable_tqdm", "true", "--eval_strategy", "no", "--per_device_eval_batch_size", "12"),
]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    with threads(1):
        yield


def curve(folder: Path, key: str = "loss") -> list[float]:
    """What was logged at each step."""
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry[key] for entry in history if key in entry]


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one-process")
    metrics = main([*FLAGS, "--output_dir", str(folder), "--per_device_train_batch_size", "16"])
    assert len(curve(folder)) == 6
    return folder, metrics


def assert_same_training(folder: Path, one_process: tuple) -> None:
    """Loss and gradient norm of each step, the weights in the end, and what is evaluated, within rounding of float32."""
    wanted, metrics = one_process
    for key in ("loss", "grad_norm"):
        assert curve(folder, key) == pytest.approx(curve(wanted, key), rel=1e-4), key
    got = json.loads((folder / "eval_results.json").read_text())
    for key in ("eval_loss", "eval_accuracy", "eval_6_iterations_loss"):
        assert got[key] == pytest.approx(metrics[key], rel=1e-4), key
    weights = load_file(wanted / "model.safetensors")
    for name, tensor in load_file(folder / "model.safetensors").items():
        torch.testing.assert_close(tensor, weights[name], rtol=1e-3, atol=1e-4, msg=name)


def launch(config: str, *flags: str, launcher: tuple = (), background: bool = False):
    """`accelerate launch` with one of our config files, on CPU processes that talk through gloo."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / config)]
    launcher = launcher or ("--num_processes", "2", "--main_process_port", free_port())
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    script = [str(LAUNCHED), *(["--as-gpus"] if config == "fsdp2.yaml" else []), str(SCRIPT)]
    process = subprocess.Popen(
        [*command, *launcher, *script, *FLAGS, *flags],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
    )  # fmt: skip
    return process if background else finish(process)


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def in_two_processes(folder: Path, work: Callable[[int], None]) -> None:
    """Run `work` with the rank of each of two forked processes, which write what they print into `folder`."""

    def both():
        other = os.fork()
        rank, status = int(other == 0), 1
        try:
            torch.set_num_threads(1)
            with open(folder / f"printed-{rank}", "w") as file, contextlib.redirect_stdout(file):
                work(rank)
            status = 0
        finally:
            if rank:
                os._exit(status)
        assert os.waitpid(other, 0)[1] == 0

    assert in_a_process(both) == 0


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_accumulated_gradients_give_the_curve_of_one_batch(one_process, tmp_path):
    flags = ["--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "2"]
    main([*FLAGS, "--output_dir", str(tmp_path), *flags])
    assert_same_training(tmp_path, one_process)


def test_two_processes_with_half_the_batch_give_the_curve_of_one(one_process, tmp_path):
    """
    accelerate gives process p of 2 every second batch of the same order: the two batches of 8 of a step are the one of 16.
    Gradients are averaged, and so is the logged loss. The images to evaluate fill both processes' batches: where they do not,
    Trainer's loss (not its metrics) counts some of them twice.
    """
    port = free_port()

    def work(rank):
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        AcceleratorState._reset_state(True)  # of the process before the fork
        PartialState._reset_state()
        main([*FLAGS, "--output_dir", str(tmp_path / "out"), "--per_device_train_batch_size", "8"])
        leave_processes()

    in_two_processes(tmp_path, work)
    printed = [(tmp_path / f"printed-{rank}").read_text() for rank in (0, 1)]
    assert ["HyperSETForImageClassification with" in text for text in printed] == [True, False]
    assert_same_training(tmp_path / "out", one_process)


@pytest.mark.slow
def test_two_processes_resume_to_the_weights_of_an_unbroken_run(tmp_path):
    """Bit by bit: the state of the random numbers of each process is in the checkpoint, which one of them renames."""
    flags = ["--per_device_train_batch_size", "8", "--save_strategy", "steps", "--save_steps", "2", "--random_flip"]
    output = launch("ddp.yaml", *flags, "--output_dir", str(tmp_path / "unbroken"))
    assert output.count("HyperSETForImageClassification with") == 1  # one process prints
    checkpoint = tmp_path / "unbroken" / "checkpoint-2"
    names = {path.name for path in checkpoint.iterdir()}
    assert {"rng_state_0.pth", "rng_state_1.pth", "model.safetensors", "optimizer.pt"} <= names
    assert not (tmp_path / "unbroken" / "_unfinished").exists()
    (tmp_path / "resumed").mkdir()
    checkpoint.rename(tmp_path / "resumed" / "checkpoint-2")
    resume = ["--output_dir", str(tmp_path / "resumed"), "--resume_from_checkpoint", "true"]
    launch("ddp.yaml", *flags, *resume)
    wanted = load_file(tmp_path / "unbroken" / "model.safetensors")
    for name, tensor in load_file(tmp_path / "resumed" / "model.safetensors").items():
        assert torch.equal(tensor, wanted[name]), name


@pytest.mark.slow
def test_two_machines_give_the_curve_of_one_process(one_process, tmp_path):
    """Two launchers, as on two machines, with a folder that both see; and a checkpoint that both write."""
    flags = ["--output_dir", str(tmp_path), "--per_device_train_batch_size", "8", "--save_strategy", "epoch"]
    port, machines = free_port(), []
    for rank in ("0", "1"):
        launcher = ("--num_machines", "2", "--num_processes", "2", "--machine_rank", rank)
        launcher += ("--main_process_ip", "127.0.0.1", "--main_process_port", port)
        machines.append(launch("machines.yaml", *flags, launcher=launcher, background=True))
    for machine in machines:
        finish(machine)
    assert_same_training(tmp_path, one_process)
    assert (tmp_path / "checkpoint-6" / "rng_state_1.pth").exists() and not (tmp_path / "_unfinished").exists()


def continued(folder: Path, checkpoint: Path, *flags: str) -> list[str]:
    """Flags that continue in `folder` from a copy of `checkpoint`."""
    shutil.copytree(checkpoint, folder / checkpoint.name)
    return [*flags, "--output_dir", str(folder), "--resume_from_checkpoint", "true"]


@pytest.mark.slow
def test_another_number_of_processes_continues_with_the_same_steps_or_says_why_not(one_process, tmp_path, caplog):
    """On one process from two: half as many samples in a step would be another place in the data."""
    flags = ["--save_strategy", "steps", "--save_steps", "4", "--output_dir", str(tmp_path / "two")]
    launch("ddp.yaml", "--per_device_train_batch_size", "8", *flags)
    checkpoint = tmp_path / "two" / "checkpoint-4"
    with pytest.raises(ValueError, match=r"steps were of 16 samples on 2 process.* of 8 on 1"):
        main([*FLAGS, *continued(tmp_path / "half", checkpoint, "--per_device_train_batch_size", "8")])
    main([*FLAGS, *continued(tmp_path / "one", checkpoint, "--per_device_train_batch_size", "16")])
    assert "on 1 process(es), which 2 saved" in caplog.text
    assert_same_training(tmp_path / "one", one_process)


@pytest.mark.slow
def test_shards_train_save_and_continue_as_one_process_does(one_process, tmp_path):
    """
    The whole of a script with FSDP2 but for the GPUs, which the processes stand in for: the model is saved whole with its code,
    and checkpoints in shards, which only shards continue from.
    """
    flags = ["--per_device_train_batch_size", "8", "--save_strategy", "steps", "--save_steps", "4"]
    launch("fsdp2.yaml", *flags, "--output_dir", str(tmp_path / "unbroken"))
    assert_same_training(tmp_path / "unbroken", one_process)
    sharded, whole = ({path.name for path in folder.iterdir()} for folder in (tmp_path / "unbroken", one_process[0]))
    assert sharded == whole | {"checkpoint-4", "checkpoint-6"}
    configs = [json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "unbroken", one_process[0])]
    assert configs[0] == configs[1]
    assert 'AutoModelForImageClassification.from_pretrained("' in (tmp_path / "unbroken" / "README.md").read_text()
    checkpoint = tmp_path / "unbroken" / "checkpoint-4"
    assert {"pytorch_model_fsdp_0", "optimizer_0", "rng_state_1.pth"} <= {path.name for path in checkpoint.iterdir()}

    with pytest.raises(ValueError, match=r"was saved in shards \(FSDP\), and this run is not"):
        main([*FLAGS, *continued(tmp_path / "whole", checkpoint, "--per_device_train_batch_size", "16")])
    launch("fsdp2.yaml", *continued(tmp_path / "resumed", checkpoint, *flags))
    wanted = load_file(tmp_path / "unbroken" / "model.safetensors")
    for name, tensor in load_file(tmp_path / "resumed" / "model.safetensors").items():
        assert torch.equal(tensor, wanted[name]), name
    (checkpoint / "optimizer_0" / ".metadata").unlink()  # as where torch was stopped
    assert defects(checkpoint) == ["optimizer_0/.metadata is missing"]


def test_bf16_runs_under_autocast(one_process, tmp_path):
    main([*FLAGS, "--output_dir", str(tmp_path), "--per_device_train_batch_size", "16", "--bf16"])
    wanted = curve(one_process[0])
    assert curve(tmp_path) == pytest.approx(wanted, rel=0.05) and curve(tmp_path) != pytest.approx(wanted, rel=1e-6)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.float32}


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated")  # the newest name is not in 5.17
def test_gradient_checkpointing_gives_the_same_curve(one_process, tmp_path):
    flags = ["--per_device_train_batch_size", "16", "--gradient_checkpointing"]
    main([*FLAGS, "--output_dir", str(tmp_path), *flags])
    assert_same_training(tmp_path, one_process)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_torch_compile_gives_the_same_curve(one_process, tmp_path, monkeypatch, backend):
    """It compiles the layers, and not the whole model as accelerate would."""
    torch.compiler.reset()
    compiled = []
    compile_one = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module,
        "compile",
        lambda self, **options: (compiled.append((type(self), options["backend"])), compile_one(self, **options))[1],
    )
    monkeypatch.setattr("accelerate.accelerator.is_compiled_module", lambda model: pytest.fail("the whole model"))
    flags = ["--per_device_train_batch_size", "16", "--torch_compile", "--torch_compile_backend", backend]
    main([*FLAGS, "--output_dir", str(tmp_path), *flags])
    assert_same_training(tmp_path, one_process)
    assert compiled == [(HyperSETLayer, backend)]
    torch.compiler.reset()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_accelerate_reads_our_configs(path):
    """accelerate's own reader refuses unknown keys; its launcher takes from them what it starts."""
    config = load_config_from_file(str(path))
    arguments = launch_command_parser().parse_args(["--config_file", str(path), str(SCRIPT), "recipe.yaml", "--bf16"])
    arguments, _, _ = _validate_launch_command(arguments)
    assert arguments.num_processes == config.num_processes
    assert arguments.training_script_args == ["recipe.yaml", "--bf16"]
    kinds = {"one_gpu": (False, False), "ddp": (True, False), "machines": (True, False), "fsdp2": (False, True)}
    assert (arguments.multi_gpu, arguments.use_fsdp) == kinds[path.stem]
    assert (arguments.num_machines > 1) == (path.stem == "machines")
    assert arguments.mixed_precision == "no"  # the script's flags say


def test_sharding_is_refused_where_accelerate_would_not_do_it(monkeypatch, tmp_path):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match="does not shard models on CPUs"):
        main([*FLAGS, "--output_dir", str(tmp_path)])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--do_train", "false"], "without `--do_train`, use another"),
        (["--log_energies"], "must not shard its model"),
    ],
)
def test_what_shards_cannot_do_is_refused_before_training(monkeypatch, tmp_path, flags, message):
    build = ScriptTrainer.__init__

    def build_sharded(self, *args, **kwargs):
        build(self, *args, **kwargs)
        self.is_fsdp_enabled = True

    monkeypatch.setattr(ScriptTrainer, "__init__", build_sharded)
    for module in ("trainer", "run"):  # as for a checkpoint that was trained
        monkeypatch.setattr(f"hyperset_lab.{module}.check_trained", lambda model: None)
    with pytest.raises(ValueError, match=message):
        main([*FLAGS, "--output_dir", str(tmp_path), *flags])
    assert not list(tmp_path.iterdir())


def shard_and_compare(rank: int, folder: Path) -> None:
    """Four steps of a sharded model on half a batch each, beside the whole model on the whole batch."""
    from types import SimpleNamespace

    from accelerate.utils.fsdp_utils import fsdp2_prepare_model
    from torch.distributed.tensor import DTensor

    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    options = load_config_from_file(str(CONFIGS / "fsdp2.yaml")).fsdp_config
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=options["fsdp_version"],
        auto_wrap_policy=options["fsdp_auto_wrap_policy"].lower(),
        transformer_cls_names_to_wrap=[options["fsdp_transformer_layer_cls_to_wrap"]],
        reshard_after_forward=options["fsdp_reshard_after_forward"],
        cpu_ram_efficient_loading=options["fsdp_cpu_ram_efficient_loading"],
        state_dict_type=options["fsdp_state_dict_type"],
    )
    state = SimpleNamespace(fsdp_plugin=plugin)
    accelerator = SimpleNamespace(
        state=state,
        torch_device_mesh=None,
        mixed_precision="no",
        is_main_process=rank == 0,
        device=torch.device("cpu"),
    )
    config = HyperSETConfig(
        image_size=8, patch_size=4, hidden_size=16, num_attention_heads=2, num_hidden_layers=2, num_iterations=3, num_labels=5
    )  # fmt: skip
    torch.manual_seed(0)
    whole, model = HyperSETForImageClassification(config), HyperSETForImageClassification(config)
    for parameter in whole.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # no step size of zero
    model.load_state_dict(whole.state_dict())
    model = fsdp2_prepare_model(accelerator, model)
    sharded = {type(module).__name__ for module in model.modules() if type(module).__name__.startswith("FSDP")}
    assert "FSDPHyperSETLayer" in sharded and all(isinstance(parameter, DTensor) for parameter in model.parameters())

    optimizers = [torch.optim.AdamW(one.parameters(), lr=1e-2) for one in (whole, model)]
    images, labels = torch.randn(8, 3, 8, 8), torch.arange(8) % 5
    half = slice(4 * rank, 4 * rank + 4)
    for num_iterations in (3, 3, 5, 3):
        losses = [
            whole(images, labels=labels, num_iterations=num_iterations).loss,
            model(images[half], labels=labels[half], num_iterations=num_iterations).loss,
        ]
        for loss, optimizer in zip(losses, optimizers, strict=True):
            optimizer.zero_grad()
            loss.backward()
        mean = losses[1].detach().clone()
        torch.distributed.all_reduce(mean)
        torch.testing.assert_close(mean / 2, losses[0].detach())
        for (name, ours), theirs in zip(model.named_parameters(), whole.parameters(), strict=True):
            torch.testing.assert_close(ours.grad.full_tensor(), theirs.grad, rtol=1e-3, atol=1e-6, msg=name)
        for optimizer in optimizers:
            optimizer.step()
    state = {name: getattr(tensor, "full_tensor", lambda t=tensor: t)() for name, tensor in model.state_dict().items()}
    if rank == 0:
        model.save_pretrained(folder / "saved", state_dict=state)
        saved = AutoModelForImageClassification.from_pretrained(folder / "saved")
        torch.testing.assert_close(saved(images).logits, whole.eval()(images).logits, rtol=1e-3, atol=1e-4)
    torch.distributed.destroy_process_group()


def test_a_sharded_iterated_layer_computes_what_the_whole_one_does(tmp_path):
    """
    FSDP2 as accelerate applies it with `fsdp2.yaml`, on two gloo processes; accelerate itself asks for GPUs. A layer that runs
    in every iteration is gathered and freed each time, and its gradient is the sum over all.
    """
    in_two_processes(tmp_path, lambda rank: shard_and_compare(rank, tmp_path))
