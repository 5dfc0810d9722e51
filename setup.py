"""Distribution metadata of Parlance: loose bounds here, exact versions and hashes in requirements/."""

from setuptools import find_packages, setup

# The stack that TFX 1.21 resolves to. Everything Parlance imports is named here, even where tfx would bring it along.
RUNTIME = [
    "tfx>=1.21,<1.22",
    "tensorflow>=2.21,<2.22",
    "tensorflow-data-validation>=1.21,<1.22",
    "tensorflow-model-analysis>=0.52,<0.53",
    "tensorflow-transform>=1.21,<1.22",
    "tfx-bsl>=1.21,<1.22",  # tf.Examples to Arrow record batches, and quantile sketches, in C++
    "apache-beam>=2.77,<3",
    "ml-metadata>=1.21,<1.22",
    "keras>=3.15,<4",
    "tensorboard>=2.20",  # tfx 1.21 forgot it; Keras' TensorBoard callback needs it
    # The embedded server and its client. The server stands on the module below the public one, as it was in these releases.
    "grpcio>=1.76,<1.86",
    "protobuf>=6.31",  # their messages, in a pool of their own
    "pyarrow>=18",  # table readers (CSV, JSONL, Parquet)
    "isal>=1.7",  # gzip by the processor's vector instructions: five times as fast as zlib at its quickest, and no larger
    "google-crc32c>=1.5",  # checksums of TFRecord frames, written without importing TensorFlow
    "numpy>=1.26",
    "scipy>=1.11",  # sparse products, in which evaluation sums rows by slice
    "pydantic>=2.7",  # the typed, closed pipeline file
    "pyyaml>=6",
    "jinja2>=3.1",  # the report's template, with escaping
    "hassil>=3.12,<4",  # parses the sentence grammar of home-assistant-intents
    "home-assistant-intents==2026.10.27",  # the default job's data; pinned because another release is other data
]

EXTRAS = {
    # tfx's own kfp extra is declared only below Python 3.12; the packages work on 3.11 to 3.13.
    "kubeflow": ["kfp==2.16.1", "kfp-kubernetes==2.16.1"],
    # What executes and exports a notebook, for the tests and `jupyter nbconvert`: two dozen small packages. To edit notebooks any
    # JupyterLab or editor will do that knows the kernel of .venv; one in here would be nearly thirty packages more, and a web server.
    # Charts need nothing: they are the report's own HTML and SVG.
    "notebooks": ["ipykernel>=6.29", "nbclient>=0.10", "nbconvert>=7.16"],
    # Names, streets and companies of forty countries, and the words that people use in each language, for the sentences that the tagger
    # of personal data is trained on: MIT, 14 and 7 MB. Pinned because other releases make other sentences.
    "tagger": ["faker==40.54.0", "pyspellchecker==0.9.1"],
    "language": ["py3langid>=0.4,<0.5"],  # which language a text is in; 5 MB, needs numpy only
    # Drivers of the sources sql, mongodb and bigquery.
    "sources": ["sqlalchemy>=2.1,<3", "psycopg[binary]>=3.2,<4", "pymongo>=4.9,<5", "google-cloud-bigquery>=3,<4"],
    # grpcio-tools compiles serving/messages; from 1.82 on it wants a newer protobuf than TensorFlow 2.21 allows. kubernetes-validate is
    # the one package that brings the JSON schemas of Kubernetes itself (108 MiB), promql-parser reads the alerts and the dashboard:
    # tests of serving/deploy need no cluster and no network.
    "dev": [
        "pytest>=8,<9.2",  # xdist 3.8 writes its groups where 9.2 no longer looks
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",  # two workers: most tests use one core
        "ruff>=0.14",
        "mypy>=1.18",
        "types-pyyaml",
        "grpcio-tools>=1.76,<1.82",
        "kubernetes-validate>=1.37,<2",
        "promql-parser>=0.12,<1",
    ],
}

setup(
    name="parlance-tfx",
    version="0.1.0",
    description="A production machine-learning pipeline for labelled messages, on TensorFlow Extended",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["pipeline", "pipeline.*", "components", "components.*", "serving", "serving.*", "schemas"]),
    package_data={
        "pipeline": ["configs/*.yaml"],
        "components": ["*/*.toml", "*/*.j2", "*/*.js", "*/*/*.txt"],
        "schemas": ["*/*.pbtxt"],
        "serving": ["messages/*.proto", "messages/*.binpb"],
    },
    install_requires=RUNTIME,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["parlance = pipeline.cli:main"]},
)
