"""``ikd-fairseq-dir``: prints the folder to give to fairseq's ``--user-dir`` when the plugin is installed."""

import argparse
from pathlib import Path


def build_parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog="ikd-fairseq-dir",
        description='Prints the plugin\'s folder: fairseq-train DATA --user-dir "$(ikd-fairseq-dir)" ...',
    )


def main(argv=None) -> None:
    build_parser().parse_args(argv)
    print(Path(__file__).resolve().parents[1])
