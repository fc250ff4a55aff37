"""``/v1/registrations/{id}``: instances on hosts without a Consul agent."""

from __future__ import annotations

from mesh.controlplane.api.errors import ApiError
from mesh.controlplane.api.model import LeaseAnswer, Nothing, RegistrationRequest
from mesh.controlplane.api.route import AnyRoute, Call, Caller, Reads, Route
from mesh.controlplane.registrations import Registration, Registrations, instance_id
from mesh.model.services import Health

_PATH = "/v1/registrations/{id}"


def routes(registrations: Registrations) -> list[AnyRoute]:
    """Return the routes of registrations."""

    async def put(call: Call, request: RegistrationRequest) -> LeaseAnswer:
        if request.id != call.path["id"]:
            raise ApiError(
                422,
                f"the path names {call.path['id']!r}, the body {request.id!r}",
                remedy="send the instance's id in both",
            )
        registration = Registration(
            id=request.id,
            service=request.service,
            address=request.address,
            port=request.port,
            app_port=request.app_port,
            tags=tuple(request.tags),
            meta=request.meta,
            health=Health(request.health),
            output=request.output,
        )
        seconds = await registrations.put(call.workload.identity, registration)
        return LeaseAnswer(lease_seconds=seconds)

    async def delete(call: Call, _request: Nothing) -> Nothing:
        try:
            instance = instance_id(call.path["id"])
        except ValueError as error:
            raise ApiError(422, str(error), remedy="send the id it was registered with") from error
        await registrations.delete(call.workload.identity, instance)
        return Nothing()

    return [
        Route(
            "PUT",
            _PATH,
            "Register an instance, or keep its lease",
            Caller.WORKLOAD,
            Reads.BODY,
            RegistrationRequest,
            LeaseAnswer,
            put,
        ),
        Route(
            "DELETE",
            _PATH,
            "Deregister an instance",
            Caller.WORKLOAD,
            Reads.NOTHING,
            Nothing,
            Nothing,
            delete,
        ),
    ]
