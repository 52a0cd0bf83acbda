"""Figures of training: the systems against stock fairseq, ikd against its naive version, and the limits."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import commands
from report import Row, compared
from workers import Both, Rounds, Spread, Way, Worker, alternate

KD_IMAGES = 8
SYSTEMS = {
    "text": "",
    "ikd": f"--kd-images-per-batch {KD_IMAGES}",
    "gated-fusion": "",
    "image-must": "",
}
STOCK = "fairseq's `transformer`, plain `fairseq-train`"
JOB = "training:Training"
CONVERGING = "training:Converging"
MEMORY = "{ours:,.0f} MB, {other:,.0f} MB"  # most that the process held in a step, libraries included


def _same_batches(rounds: Rounds) -> None:
    tokens = [[answer["tokens"] for answer in answers] for answers in rounds]
    assert tokens[0] == tokens[1], f"the two ways saw other batches: {tokens}"


def steps(data: Path, scratch: Path) -> Iterator[Row]:
    """An update of each system against one of stock fairseq on the same batches, and the memory of it.

    Each is called as its users call it. Data, size of the model, tokens a batch, seed, optimizer and loss are
    the same; that both saw batches of the same numbers of tokens is checked. What a system does beyond
    translation (the CNN, the distillation) counts as its own time. The plugin's settings of the allocator
    trade memory for time: what glibc keeps for the next step counts as memory in use.
    """
    yield from _against_stock(data, SYSTEMS)


def features(data: Path, scratch: Path) -> Iterator[Row]:
    """As steps, with the images' maps from a feature pack: how the authors of these systems train them."""
    from data import FEATURES, write_packs

    option = f"--image-features {FEATURES}"
    yield from _against_stock(
        write_packs(scratch / "features"), {"gated-fusion": option, "image-must": option}
    )


def _against_stock(data: Path, systems: Mapping[str, str]) -> Iterator[Row]:
    updates = {"updates": 1}
    for system, options in systems.items():
        name = f"`{system}` {options.replace('--', '')}".strip()
        with Worker(JOB, command=commands.ours(data, system, options)) as worker:
            with Worker(JOB, command=commands.stock(data)) as stock:
                rounds = alternate(Way(worker, updates), Way(stock, updates), 5)
        _same_batches(rounds)
        yield compared(f"training step, {name}", STOCK, rounds, "cpu", "{ours:.2f} s, {other:.2f} s")
        yield compared(f"peak memory, {name}", STOCK, rounds, "peak", MEMORY)


def _each(rounds: Rounds, key: str, updates: int) -> Rounds:
    """The same with *key* for one of the *updates* of a round."""
    return Rounds(*([{**answer, key: answer[key] / updates} for answer in answers] for answers in rounds))


def naive(data: Path, scratch: Path) -> Iterator[Row]:
    """An update of ikd against the version in ``naive_ikd``, on the same batches.

    Same model, same terms of the loss. The naive one distils all images of a batch, unpools by a transposed
    convolution, runs the frozen CNN in PyTorch's default layout and has no settings of the allocator. With
    4,096 tokens, some 280 images, it ran out of the memory of a machine of 24 GB; hence batches of a quarter,
    and a quarter of the images that ikd draws from one, for both.
    """
    smaller = ["--max-tokens", "1024"]
    options = f"--kd-images-per-batch {KD_IMAGES // 4}"
    command = [*commands.ours(data, "ikd", options), *smaller]
    with Worker(JOB, command=command) as worker:
        naive_command = [*commands.naive_ikd(data), *smaller]
        with Worker(JOB, commands.PLAIN_ALLOCATOR, command=naive_command) as other:
            rounds = alternate(Way(worker, {"updates": 1}), Way(other, {"updates": 1}), 5)
    _same_batches(rounds)
    name = f"`ikd` {options.replace('--', '')}, 1,024 tokens"
    against = "its naive version: all images of a batch, transposed convolution"
    yield compared(f"training step, {name}", against, rounds, "cpu", "{ours:.2f} s, {other:.2f} s")
    yield compared(f"peak memory, {name}", against, rounds, "peak", MEMORY)


def quality(data: Path, scratch: Path) -> Iterator[Row]:
    """500 updates of ikd against as many of its naive version, with the development set's loss after them.

    On the same batches, which have 512 tokens so that the naive one ends; ikd distils 1 of some 35 images.
    The ratio tells of speed only if the two losses, in bits a token, are equal.
    """
    smaller = ["--max-tokens", "512"]
    command = [*commands.ours(data, "ikd", "--kd-images-per-batch 1"), *smaller]
    naive = [*commands.naive_ikd(data), *smaller]
    chunk, chunks = 50, 10
    with Worker(CONVERGING, command=command) as worker:
        with Worker(CONVERGING, commands.PLAIN_ALLOCATOR, command=naive) as other:
            rounds = Rounds([], [])
            for _ in range(chunks):
                for way, answers in zip((worker, other), rounds):
                    answers.append(way.do(updates=chunk))
            losses = [way.do(updates=0, validate=True)["loss"] for way in (worker, other)]
    _same_batches(rounds)
    values = "{:.0f} s, {:.0f} s; development loss {:.3f}, {:.3f} bits a token".format(
        *(sum(answer["cpu"] for answer in answers) for answers in rounds), *losses
    )
    name = f"{chunk * chunks} updates, `ikd` kd-images-per-batch 1, 512 tokens"
    yield compared(name, "its naive version", rounds, "cpu", values)


def precision(data: Path, scratch: Path) -> Iterator[Row]:
    """An update with ``--bf16-autocast`` against one in float32: text, and ikd with small and large CNN.

    ResNet-50 has random weights here, which cost what others do, and 4 images of a batch are distilled.
    """
    resnet = "--backbone resnet50 --teacher-weights random --kd-images-per-batch 4 --max-tokens 1024"
    for system, options in {**{"text": "", "ikd": SYSTEMS["ikd"]}, "ikd ": resnet}.items():
        command = commands.ours(data, system.strip(), options)
        with Worker(JOB, command=[*command, "--bf16-autocast"]) as worker:
            with Worker(JOB, command=command) as other:
                rounds = alternate(Way(worker, {"updates": 1}), Way(other, {"updates": 1}), 5)
        name = f"training step, `{system.strip()}` {options.replace('--', '')}".strip()
        yield compared(f"{name}, bf16-autocast", "float32", rounds, "cpu", "{ours:.2f} s, {other:.2f} s")


def maps(data: Path, scratch: Path) -> Iterator[Row]:
    """An update of ikd that reads the teacher's maps of all images against one that makes them."""
    from data import FEATURES, write_packs

    command = [*commands.ours(write_packs(scratch / "maps"), "ikd"), "--max-tokens", "512"]
    with Worker(JOB, command=[*command, "--teacher-features", FEATURES]) as worker:
        with Worker(JOB, command=command) as other:
            rounds = alternate(Way(worker, {"updates": 1}), Way(other, {"updates": 1}), 5)
    _same_batches(rounds)
    name = "training step, `ikd`, 512 tokens, all images, teacher-features"
    yield compared(name, "the same without", rounds, "cpu", "{ours:.2f} s, {other:.2f} s")


def limit(data: Path, scratch: Path) -> Iterator[Row]:
    """The share of an update that its own matrix products, forward and backward, would take alone.

    See :class:`training.ProductShare`: the ratio is products over step, so 1 would be the arithmetic limit.
    What the fused kernel of self-attention multiplies, about 1 % of the operations, is not counted.
    """
    ways = {"`text`": commands.ours(data, "text"), "stock fairseq": commands.stock(data)}
    for name, command in ways.items():
        with Worker("training:ProductShare", command=command) as worker:
            answers = [worker.do(updates=1) for _ in range(5)][1:]
        steps = [{"seconds": answer["step"]} for answer in answers]
        products = [{"seconds": answer["products"]} for answer in answers]
        rounds = Rounds(steps, products)
        speed = Spread.of([answer["operations"] / answer["products"] / 1e9 for answer in answers]).median
        values = f"{{ours:.2f}} s, {{other:.2f}} s at {speed:.0f} GFLOP/s"
        against = "its own matrix products alone (1 is the limit)"
        yield compared(f"training step, {name}", against, rounds, "seconds", values)


def allocator(data: Path, scratch: Path) -> Iterator[Row]:
    """The same update of text with the plugin's settings of glibc's allocator and without."""
    command = commands.ours(data, "text")
    with Worker(JOB, command=command) as worker:
        with Worker(JOB, commands.PLAIN_ALLOCATOR, command=command) as other:
            rounds = alternate(Way(worker, {"updates": 2}), Way(other, {"updates": 2}), 5)
    _same_batches(rounds)
    name, against = "training step, `text`, allocator set", "the same with `IKD_KEEP_MEMORY=0`"
    yield compared(name, against, _each(rounds, "cpu", 2), "cpu", "{ours:.2f} s, {other:.2f} s")
    yield compared(name.replace("training step", "peak memory"), against, rounds, "peak", MEMORY)


def processes(data: Path, scratch: Path) -> Iterator[Row]:
    """Two processes that share an update of two batches, against one that makes it of both by itself.

    In seconds that pass, so that the ideal is 2, and only a machine with a second processor to spare can
    show it. The tokens of an update are the same up to the order in which fairseq hands out batches.
    """
    command = commands.ours(data, "text")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ExitStack() as stack:
        ranks = [
            stack.enter_context(Worker(JOB, command=commands.one_of_two(command, rank, port)))
            for rank in range(2)
        ]
        alone = stack.enter_context(Worker(JOB, command=[*command, "--update-freq", "2"]))
        rounds = alternate(Way(Both(*ranks), {"updates": 2}), Way(alone, {"updates": 2}), 4)
    rounds = _each(rounds, "wall", 2)
    name, values = (
        "update of two batches, `text`, by two processes",
        "{ours:.2f} s, {other:.2f} s that passed",
    )
    yield compared(name, "by one, `--update-freq 2`", rounds, "wall", values)
