package dpssim

import (
	"fmt"
	"slices"
	"strings"
)

// serviceID is the resource id of the simulated service.
func (s *Sim) serviceID() string {
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Devices/provisioningServices/%s",
		s.cfg.SubscriptionID, s.cfg.ResourceGroup, s.cfg.Service)
}

// getService is ProvisioningServiceDescription: the id scope and the linked hubs are what
// it is asked for.
func (s *Sim) getService(*armCall) answer {
	hubs := []any{}
	for _, host := range s.cfg.Hubs {
		hubs = append(hubs, map[string]any{
			"name": host, "location": "westeurope", "applyAllocationPolicy": true, "allocationWeight": 1,
			"connectionString": fmt.Sprintf("HostName=%s;SharedAccessKeyName=%s;SharedAccessKey=****", host, hubPolicy),
		})
	}
	return ok(map[string]any{
		"id": s.serviceID(), "name": s.cfg.Service, "type": "Microsoft.Devices/provisioningServices", "location": "westeurope",
		"resourcegroup": s.cfg.ResourceGroup, "subscriptionid": s.cfg.SubscriptionID, "etag": "AAAAAAAAAAE=", "tags": map[string]any{},
		"sku": map[string]any{"name": "S1", "tier": "Standard", "capacity": 1},
		"properties": map[string]any{
			"state": "Active", "provisioningState": "Succeeded", "idScope": s.cfg.IDScope, "allocationPolicy": "Hashed", "iotHubs": hubs,
			"serviceOperationsHostName": s.cfg.serviceHost(), "deviceProvisioningHostName": globalHost,
		},
	})
}

// policies lists the names of the service's own shared access policies.
func (s *Sim) policies() []string {
	var names []string
	for name := range s.keysOf(s.cfg.serviceHost()) {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// policyJSON is SharedAccessSignatureAuthorizationRule. There is no secondary key here.
func (s *Sim) policyJSON(name string) map[string]any {
	return map[string]any{
		"keyName": name, "primaryKey": s.cfg.Keys[name],
		"rights": "ServiceConfig, DeviceConnect, EnrollmentWrite, RegistrationStatusWrite",
	}
}

func (s *Sim) listKeys(*armCall) answer {
	list := []any{}
	for _, name := range s.policies() {
		list = append(list, s.policyJSON(name))
	}
	return ok(map[string]any{"value": list})
}

func (s *Sim) listKey(call *armCall) answer {
	for _, name := range s.policies() {
		if strings.EqualFold(name, call.name) {
			return ok(s.policyJSON(name))
		}
	}
	return s.armError(404, 0, fmt.Sprintf("There is no shared access policy %q.", clip(call.name, 64)))
}
