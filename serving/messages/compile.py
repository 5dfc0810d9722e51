"""Compiles the .proto sources to descriptors.binpb: `python -m serving.messages.compile`, after a change of a source.

Needs a protobuf compiler: grpcio-tools (in the extra `dev`) or `protoc` on the path. Nothing else here does, which is why the
compiled descriptors are checked in.
"""

from __future__ import annotations

import importlib.util
import pathlib
import shutil
import subprocess
import sys
import tempfile

FOLDER = pathlib.Path(__file__).parent
DESCRIPTORS = FOLDER / "descriptors.binpb"
# A file comes after those it imports: a descriptor pool takes them in this order.
SOURCES = ("codes", "tensor", "example", "graph", "session", "config", "serving", "health")


def compiler() -> list[str] | None:
    """The command of the protobuf compiler found here, None where there is none."""
    if importlib.util.find_spec("grpc_tools"):
        return [sys.executable, "-m", "grpc_tools.protoc"]
    protoc = shutil.which("protoc")
    return [protoc] if protoc else None


def compile_sources() -> bytes:
    """Compiles the sources to a serialized FileDescriptorSet, without the well-known types: the protobuf runtime has those.

    Raises:
        RuntimeError: There is no compiler, or it refused the sources.
    """
    command = compiler()
    if command is None:
        raise RuntimeError("no protobuf compiler here: install grpcio-tools (extra `dev`) or put protoc on the path")
    with tempfile.TemporaryDirectory() as folder:
        compiled = pathlib.Path(folder) / DESCRIPTORS.name
        words = [*command, f"--proto_path={FOLDER}", f"--descriptor_set_out={compiled}", *(f"{name}.proto" for name in SOURCES)]
        result = subprocess.run(words, capture_output=True, text=True, check=False)
        if result.returncode:
            raise RuntimeError(f"the protobuf compiler refused the sources: {result.stderr.strip()}")
        return compiled.read_bytes()


if __name__ == "__main__":
    DESCRIPTORS.write_bytes(compile_sources())
