"""Learning curves of one or more runs as one picture, from what train.sh leaves in its folder.

python examples/multi30k/plot_curves.py --output curves.png text=runs/text ikd=runs/ikd
"""

import argparse
import sys
from pathlib import Path

from ikd_fairseq.experiments.curves import VALID, read_curves

PANELS = {  # value in the curves -> title of its panel
    "nll_loss": "translation: bits a token, validation",
    "kd_irm": "IrM term, validation",
    "kd_iam": "IaM term, validation",
    "kd_image": "image term, validation",
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs", nargs="+", metavar="NAME=RUN", help="name for the legend and folder of a run"
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="picture to write, e.g. curves.png")
    return parser


def main(argv=None) -> int:
    args = build_parser().parse_args(argv)
    try:
        import matplotlib
    except ModuleNotFoundError:
        print(
            'plot_curves.py: error: matplotlib is missing: pip install "ikd-fairseq[plots]"', file=sys.stderr
        )
        return 1
    matplotlib.use("Agg")
    from matplotlib import pyplot

    runs = {}
    for run in args.runs:
        name, _, folder = run.partition("=")
        runs[name] = read_curves(Path(folder))[VALID]
        if not runs[name]:
            print(f"plot_curves.py: error: {run}: {folder} holds no curve of a validation", file=sys.stderr)
            return 1
    panels = [name for name in PANELS if any(name in curves for curves in runs.values())]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4 * len(panels), 3.2), squeeze=False)
    for axis, panel in zip(axes[0], panels):
        for number, (name, curves) in enumerate(runs.items()):
            if panel in curves:
                axis.plot(*zip(*curves[panel]), label=name, color=f"C{number}")
        axis.set_title(PANELS[panel], fontsize=9)
        axis.set_xlabel("updates")
        axis.grid(alpha=0.3)
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(args.output, dpi=110)
    return 0


if __name__ == "__main__":
    sys.exit(main())
