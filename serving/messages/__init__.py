"""TensorFlow Serving's messages without TensorFlow, beside TensorFlow's own in the same process.

    from serving.messages import ModelSpec, PredictRequest

    request = PredictRequest(model_spec=ModelSpec(name="intents"))
    request.model_spec.version.value = 3
    PredictRequest.FromString(request.SerializeToString())

Full names, field names and field numbers are upstream's, so bytes, text formats, JSON and the type URLs of `Any` are the same. The
classes come from descriptors.binpb (compiled from the .proto files here by `python -m serving.messages.compile`) and live in a pool
of their own: protobuf's default pool would refuse them in a process that imports TensorFlow too. Hence:

* A message of ours is never a message of `tensorflow_serving`: pass bytes from one to the other.
* `google.protobuf.text_format` and `json_format` need `descriptor_pool=POOL` to look inside an `Any`.
* Fields not declared here survive parsing and serializing.

Enumerations (`DataType`, `Code`, `ModelType`) have `Name(number)`, `Value(name)` and their values as attributes (`DataType.DT_FLOAT`);
nested ones are reached through their message (`ModelVersionStatus.AVAILABLE`).
"""

from __future__ import annotations

import pathlib
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper


def _load() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for known in (any_pb2, wrappers_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    compiled = (pathlib.Path(__file__).parent / "descriptors.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(compiled).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL = _load()


def _message(full_name: str) -> Any:
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(full_name))


def _enumeration(full_name: str) -> Any:
    return EnumTypeWrapper(POOL.FindEnumTypeByName(full_name))


# Tensors
DataType = _enumeration("tensorflow.DataType")
TensorShapeProto = _message("tensorflow.TensorShapeProto")
TensorProto = _message("tensorflow.TensorProto")
NamedTensorProto = _message("tensorflow.NamedTensorProto")
VariantTensorDataProto = _message("tensorflow.VariantTensorDataProto")
ResourceHandleProto = _message("tensorflow.ResourceHandleProto")

# tf.Examples
BytesList = _message("tensorflow.BytesList")
FloatList = _message("tensorflow.FloatList")
Int64List = _message("tensorflow.Int64List")
Feature = _message("tensorflow.Feature")
Features = _message("tensorflow.Features")
Example = _message("tensorflow.Example")
FeatureList = _message("tensorflow.FeatureList")
FeatureLists = _message("tensorflow.FeatureLists")
SequenceExample = _message("tensorflow.SequenceExample")

# SavedModels
NameAttrList = _message("tensorflow.NameAttrList")
AttrValue = _message("tensorflow.AttrValue")
NodeDef = _message("tensorflow.NodeDef")
OpDef = _message("tensorflow.OpDef")
OpDeprecation = _message("tensorflow.OpDeprecation")
OpList = _message("tensorflow.OpList")
FunctionDef = _message("tensorflow.FunctionDef")
GradientDef = _message("tensorflow.GradientDef")
FunctionDefLibrary = _message("tensorflow.FunctionDefLibrary")
VersionDef = _message("tensorflow.VersionDef")
GraphDef = _message("tensorflow.GraphDef")
TensorInfo = _message("tensorflow.TensorInfo")
SignatureDef = _message("tensorflow.SignatureDef")
AssetFileDef = _message("tensorflow.AssetFileDef")
CollectionDef = _message("tensorflow.CollectionDef")
MetaGraphDef = _message("tensorflow.MetaGraphDef")
SavedModel = _message("tensorflow.SavedModel")

# Sessions
ThreadPoolOptionProto = _message("tensorflow.ThreadPoolOptionProto")
ConfigProto = _message("tensorflow.ConfigProto")
RunOptions = _message("tensorflow.RunOptions")
RunMetadata = _message("tensorflow.RunMetadata")

# Configuration files
FileSystemStoragePathSourceConfig = _message("tensorflow.serving.FileSystemStoragePathSourceConfig")
LogCollectorConfig = _message("tensorflow.serving.LogCollectorConfig")
SamplingConfig = _message("tensorflow.serving.SamplingConfig")
LoggingConfig = _message("tensorflow.serving.LoggingConfig")
ModelType = _enumeration("tensorflow.serving.ModelType")
ModelConfig = _message("tensorflow.serving.ModelConfig")
ModelConfigList = _message("tensorflow.serving.ModelConfigList")
ModelServerConfig = _message("tensorflow.serving.ModelServerConfig")
SSLConfig = _message("tensorflow.serving.SSLConfig")
PrometheusConfig = _message("tensorflow.serving.PrometheusConfig")
MonitoringConfig = _message("tensorflow.serving.MonitoringConfig")
BatchingParameters = _message("tensorflow.serving.BatchingParameters")

# PredictionService
Code = _enumeration("tensorflow.error.Code")
ModelSpec = _message("tensorflow.serving.ModelSpec")
StatusProto = _message("tensorflow.serving.StatusProto")
PredictStreamedOptions = _message("tensorflow.serving.PredictStreamedOptions")
PredictRequest = _message("tensorflow.serving.PredictRequest")
PredictResponse = _message("tensorflow.serving.PredictResponse")
ExampleList = _message("tensorflow.serving.ExampleList")
ExampleListWithContext = _message("tensorflow.serving.ExampleListWithContext")
Input = _message("tensorflow.serving.Input")
Class = _message("tensorflow.serving.Class")
Classifications = _message("tensorflow.serving.Classifications")
ClassificationResult = _message("tensorflow.serving.ClassificationResult")
ClassificationRequest = _message("tensorflow.serving.ClassificationRequest")
ClassificationResponse = _message("tensorflow.serving.ClassificationResponse")
Regression = _message("tensorflow.serving.Regression")
RegressionResult = _message("tensorflow.serving.RegressionResult")
RegressionRequest = _message("tensorflow.serving.RegressionRequest")
RegressionResponse = _message("tensorflow.serving.RegressionResponse")
InferenceTask = _message("tensorflow.serving.InferenceTask")
InferenceResult = _message("tensorflow.serving.InferenceResult")
MultiInferenceRequest = _message("tensorflow.serving.MultiInferenceRequest")
MultiInferenceResponse = _message("tensorflow.serving.MultiInferenceResponse")
SignatureDefMap = _message("tensorflow.serving.SignatureDefMap")
GetModelMetadataRequest = _message("tensorflow.serving.GetModelMetadataRequest")
GetModelMetadataResponse = _message("tensorflow.serving.GetModelMetadataResponse")

# ModelService
GetModelStatusRequest = _message("tensorflow.serving.GetModelStatusRequest")
ModelVersionStatus = _message("tensorflow.serving.ModelVersionStatus")
GetModelStatusResponse = _message("tensorflow.serving.GetModelStatusResponse")
ReloadConfigRequest = _message("tensorflow.serving.ReloadConfigRequest")
Metric = _message("tensorflow.serving.Metric")
ReloadConfigResponse = _message("tensorflow.serving.ReloadConfigResponse")

# Logged requests
SessionRunRequest = _message("tensorflow.serving.SessionRunRequest")
SessionRunResponse = _message("tensorflow.serving.SessionRunResponse")
LogMetadata = _message("tensorflow.serving.LogMetadata")
ClassifyLog = _message("tensorflow.serving.ClassifyLog")
RegressLog = _message("tensorflow.serving.RegressLog")
PredictLog = _message("tensorflow.serving.PredictLog")
PredictStreamedLog = _message("tensorflow.serving.PredictStreamedLog")
MultiInferenceLog = _message("tensorflow.serving.MultiInferenceLog")
SessionRunLog = _message("tensorflow.serving.SessionRunLog")
PredictionLog = _message("tensorflow.serving.PredictionLog")

# Health
HealthCheckRequest = _message("grpc.health.v1.HealthCheckRequest")
HealthCheckResponse = _message("grpc.health.v1.HealthCheckResponse")
