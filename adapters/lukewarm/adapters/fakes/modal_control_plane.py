"""A FAKE of Modal's control plane on loopback: enough of its gRPC for `modal deploy`; records every call.

Point the SDK at it with MODAL_SERVER_URL, MODAL_TOKEN_ID and MODAL_TOKEN_SECRET. Speaks modal 1.6's private protocol.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

Responder = Callable[[Any, Any], Any]


class Recorded(NamedTuple):
    """One call, its message as plain data."""

    name: str
    message: dict[str, Any]


class Ids:
    """Ids such as the real service gives: `fu-1`, `im-2`."""

    def __init__(self) -> None:
        self.count = 0

    def new(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}-{self.count}"


def servicer(record: Callable[[Recorded], None]) -> Any:
    """The gRPC service, as an object for `grpclib.server.Server`."""
    from google.protobuf.json_format import MessageToDict
    from modal._utils.grpc_testing import patch_mock_servicer
    from modal_proto import api_grpc

    ids = Ids()
    responders = _responders()

    def method(name: str) -> Any:
        async def handle(self: Any, stream: Any) -> None:
            request = await stream.recv_message()
            record(Recorded(name, MessageToDict(request, preserving_proto_field_name=True)))
            await stream.send_message(responders[name](ids, request))

        return handle

    async def default_interceptor(self: Any, *arguments: Any) -> None:
        return None

    body = {name: method(name) for name in responders}
    fake = type("Fake", (api_grpc.ModalClientBase,), {
        "interception_context": None, "default_interceptor": default_interceptor, **body,
    })  # fmt: skip
    return patch_mock_servicer(fake)()


def _responders() -> dict[str, Responder]:
    """What each call is answered with: `(ids, request) -> response`."""
    from google.protobuf.empty_pb2 import Empty
    from modal_proto import api_pb2 as pb

    builder = "2025.06"
    done = pb.GenericResult(status=pb.GenericResult.GENERIC_STATUS_SUCCESS)
    settings = pb.EnvironmentSettings(image_builder_version=builder, webhook_suffix="")
    environment = pb.EnvironmentMetadata(name="main", settings=settings)
    image = pb.ImageMetadata(image_builder_version=builder, python_version_info="3.11.7")
    mount = pb.MountHandleMetadata(content_checksum_sha256_hex="ab" * 32)
    return {
        "ClientHello": lambda ids, r: pb.ClientHelloResponse(image_builder_version=builder),
        "AuthTokenGet": lambda ids, r: pb.AuthTokenGetResponse(token="x.eyJleHAiOiA5OTk5OTk5OTk5fQ.x"),
        "EnvironmentGetOrCreate": lambda ids, r: pb.EnvironmentGetOrCreateResponse(
            environment_id="en-1", metadata=environment
        ),
        "AppGetOrCreate": lambda ids, r: pb.AppGetOrCreateResponse(app_id="ap-1"),
        "AppCreate": lambda ids, r: pb.AppCreateResponse(app_id="ap-1", app_page_url="http://fake.invalid/ap-1"),
        "AppGetLayout": lambda ids, r: pb.AppGetLayoutResponse(app_layout=pb.AppLayout()),
        "AppGetObjects": lambda ids, r: pb.AppGetObjectsResponse(),
        "AppGetByDeploymentName": lambda ids, r: pb.AppGetByDeploymentNameResponse(app_id=""),
        "AppSetTags": lambda ids, r: Empty(),
        "AppHeartbeat": lambda ids, r: Empty(),
        "AppClientDisconnect": lambda ids, r: Empty(),
        "AppPublish": lambda ids, r: pb.AppPublishResponse(url=f"http://fake.invalid/apps/{r.name}"),
        "ImageGetOrCreate": lambda ids, r: pb.ImageGetOrCreateResponse(
            image_id=ids.new("im"), result=done, metadata=image
        ),
        "MountBatchedCheckExistence": lambda ids, r: pb.MountBatchedCheckExistenceResponse(),
        "MountPutFile": lambda ids, r: pb.MountPutFileResponse(exists=True),
        "MountGetOrCreate": lambda ids, r: pb.MountGetOrCreateResponse(mount_id=ids.new("mo"), handle_metadata=mount),
        "VolumeGetOrCreate": lambda ids, r: pb.VolumeGetOrCreateResponse(
            volume_id=ids.new("vo"), version=r.version,
            metadata=pb.VolumeMetadata(version=r.version, name=r.deployment_name),
        ),
        "SecretGetOrCreate": lambda ids, r: pb.SecretGetOrCreateResponse(secret_id=ids.new("st")),
        "FunctionPrecreate": lambda ids, r: pb.FunctionPrecreateResponse(
            function_id=ids.new("fu"),
            handle_metadata=pb.FunctionHandleMetadata(function_name=r.function_name, function_type=r.function_type),
        ),
        "FunctionCreate": _function_created,
        "ClassCreate": lambda ids, r: pb.ClassCreateResponse(class_id=ids.new("cs")),
        "FunctionBindParams": lambda ids, r: pb.FunctionBindParamsResponse(
            bound_function_id=ids.new("fu"), handle_metadata=pb.FunctionHandleMetadata()
        ),
    }  # fmt: skip


def _function_created(ids: Ids, request: Any) -> Any:
    """Since 1.6 the client wants the function back, ranked."""
    from modal_proto import api_pb2 as pb

    function_id = request.existing_function_id or ids.new("fu")
    ranked = len(request.function_data.ranked_functions) > 0
    source = request.function_data if ranked else request.function
    methods = {
        name: pb.FunctionHandleMetadata(
            function_name=one.function_name, function_type=one.function_type, is_method=True,
            web_url=f"http://{name}.fake.invalid" if one.webhook_config.type else "",
        )
        for name, one in source.method_definitions.items()
    }  # fmt: skip
    metadata = pb.FunctionHandleMetadata(
        function_name=source.function_name, function_type=source.function_type, definition_id=f"de-{function_id}",
        web_url="http://web.fake.invalid" if source.webhook_config.type else "", method_handle_metadata=methods,
    )  # fmt: skip
    data = pb.FunctionData()
    if ranked:
        data.CopyFrom(request.function_data)
    else:
        function = pb.Function()
        function.CopyFrom(request.function)
        data.ranked_functions.append(pb.FunctionData.RankedFunction(rank=0, function=function))
    return pb.FunctionCreateResponse(
        function_id=function_id, function=None if ranked else request.function, function_data=data,
        handle_metadata=metadata,
    )  # fmt: skip


async def serve(host: str, port: int, record: Callable[[Recorded], None]) -> None:
    """Serve until cancelled."""
    from grpclib.server import Server
    from modal._utils.grpc_utils import custom_detail_codec

    server = Server([servicer(record)], status_details_codec=custom_detail_codec)
    await server.start(host, port)
    try:
        await server.wait_closed()
    finally:
        server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, help="append each call here, one JSON object a line")
    arguments = parser.parse_args()

    def record(call: Recorded) -> None:
        if arguments.log:
            with arguments.log.open("a") as stream:
                stream.write(json.dumps(call._asdict()) + "\n")

    asyncio.run(serve(arguments.host, arguments.port, record))


if __name__ == "__main__":
    main()
