"""Request logs as the server writes them."""

from serving import tfrecords
from serving.messages import PredictionLog
from serving.tensors import Tensor, to_proto


def record(at, texts, labels, scores, abstained=None, languages=None, version=3, latency_us=2000, model="intents"):
    """A logged request of one or more rows."""
    log = PredictionLog()
    log.log_metadata.model_spec.name = model
    log.log_metadata.model_spec.version.value = version
    log.log_metadata.timestamp_secs = int(at)
    log.log_metadata.request_origin = f"GRPC latency_us={latency_us}"
    request, response = log.predict_log.request, log.predict_log.response
    request.model_spec.name = model
    asked = {"text": texts, **({"language": languages} if languages else {})}
    answered = {"label": labels, "score": scores, **({"abstained": abstained} if abstained else {})}
    for messages, columns in ((request.inputs, asked), (response.outputs, answered)):
        for alias, values in columns.items():
            messages[alias].CopyFrom(to_proto(Tensor.of(values)))
    return log


def write(folder, records, name="requests-1"):
    """Writes a finished file of a log."""
    content = b"".join(tfrecords.framed(one.SerializeToString()) for one in records)
    (folder / f"{name}.tfrecord").write_bytes(content)
