"""What discovery can be told: PLAINWIRE_DISCOVERY_* or the TOML table [discovery]."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from services.settings import SharedSettings


class Settings(SharedSettings, frozen=True, kw_only=True):
    interval: Annotated[float, Meta(ge=0.1, le=3600)] = 2.0  # seconds between two scans
    files: tuple[str, ...] = ()  # targets besides what processes map: executables or libraries
    system_libraries: bool = True  # the host's own libraries are targets before anybody uses them
    # auto: only in calls that can't wait, or where nothing else sees a result; still: that on every
    # kernel; always: wherever they are cheap, which kills programs whose fibers switch in a call
    uretprobes: Literal["auto", "still", "always", "never"] = "auto"
