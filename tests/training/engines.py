"""An engine as the profiles for two cores have it."""

from vjepa.config import EngineConfig

ENGINE = EngineConfig(
    processes=1, strategy="ddp", restarts=0, micro_batch=0, precision="fp32", clip_norm=None, compile=False,
    recompute=False, best=None, loggers=[],
)  # fmt: skip
