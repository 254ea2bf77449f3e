"""`paraclip export`."""

from paraclip.exporting.run import export_model
from paraclip.systems.config import ExportConfig


def export_command(config: ExportConfig) -> None:
    """Write a model for another system and print how to load it."""
    exported = export_model(config.model, config.out, config)
    print(f"Wrote {exported.path}")
    if exported.drift is not None:  # of shortened weights
        print(exported.drift)
    for number, step in enumerate(exported.steps, 1):
        print(f"{number}. {step}")
