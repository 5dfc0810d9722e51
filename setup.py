"""Distribution metadata of Parlance: loose bounds here, exact versions and hashes in requirements/."""

from setuptools import find_packages, setup

# The stack that TFX 1.21 resolves to. Everything Parlance imports is named here, even where tfx would bring it along.
RUNTIME = [
    "tfx>=1.21,<1.22",
    "tensorflow>=2.21,<2.22",
    "tensorflow-data-validation>=1.21,<1.22",
    "tensorflow-model-analysis>=0.52,<0.53",
    "tensorflow-transform>=1.21,<1.22",
    "tfx-bsl>=1.21,<1.22",  # Arrow record batches to tf.Examples in C++
    "apache-beam>=2.77,<3",
    "ml-metadata>=1.21,<1.22",
    "keras>=3.15,<4",
    "tensorboard>=2.20",  # tfx 1.21 forgot it; Keras' TensorBoard callback needs it
    "pyarrow>=18",  # table readers (CSV, JSONL, Parquet)
    "google-crc32c>=1.5",  # checksums of TFRecord frames, written without importing TensorFlow
    "numpy>=1.26",
    "pydantic>=2.7",  # the typed, closed pipeline file
    "pyyaml>=6",
    "jinja2>=3.1",  # the report's template, with escaping
    "hassil>=3.12,<4",  # parses the sentence grammar of home-assistant-intents
    "home-assistant-intents==2026.10.27",  # the default job's data; pinned because another release is other data
]

EXTRAS = {
    # tfx's own kfp extra is declared only below Python 3.12; the packages work on 3.11 to 3.13.
    "kubeflow": ["kfp==2.16.1", "kfp-kubernetes==2.16.1"],
    "dev": ["pytest>=8", "pytest-timeout>=2.3", "ruff>=0.14", "mypy>=1.18", "types-pyyaml"],
}

setup(
    name="parlance-tfx",
    version="0.1.0",
    description="A production machine-learning pipeline for labelled messages, on TensorFlow Extended",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["pipeline", "pipeline.*", "components", "components.*", "serving", "serving.*", "schemas"]),
    package_data={"pipeline": ["configs/*.yaml"], "components": ["*/*.toml", "*/*.j2"], "schemas": ["*/*.pbtxt"]},
    install_requires=RUNTIME,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["parlance = pipeline.cli:main"]},
)
