package dpssim

import (
	"errors"
	"net/http"
	"slices"
	"strings"
)

// Audiences of Entra tokens, as {audience}/.default is the scope that is asked for.
const (
	managementAudience = "https://management.azure.com"
	dpsAudience        = "https://azure-devices-provisioning.net"
	hubAudience        = "https://iothubs.azure.net"
)

// authorizeData checks the Authorization header of a call of the data plane: a shared
// access signature for the service's host, or an Entra token for DPS. The error is for
// the event log; the caller is told dpsError(401, 401002, "Unauthorized").
func (s *Sim) authorizeData(r *http.Request) error {
	return s.authorize(r, s.cfg.serviceHost(), dpsAudience)
}

// authorize checks a shared access signature for host, or an Entra token for one of
// the audiences. Policies are those of the service for its own host and of the hubs for theirs.
func (s *Sim) authorize(r *http.Request, host string, audiences ...string) error {
	header := r.Header.Get("Authorization")
	var err error
	switch {
	case header == "":
		err = errNoAuthorization
	case strings.HasPrefix(header, sasScheme):
		err = verifySAS(header, host, s.keysOf(host), s.now())
	case strings.HasPrefix(header, "Bearer "):
		err = s.tokens.verify(strings.TrimPrefix(header, "Bearer "), audiences)
	default:
		err = errors.New("the Authorization header is neither a SharedAccessSignature nor a Bearer token")
	}
	if err != nil {
		s.note("call.unauthorized", err.Error(), "host", host, "method", r.Method, "path", r.URL.Path)
	}
	return err
}

// keysOf are the policies of a host: that of hubs is iothubowner, and every other one
// is the service's. Policies of Config.Keys beside the two are good for both.
func (s *Sim) keysOf(host string) map[string]string {
	other := hubPolicy
	if slices.Contains(s.cfg.Hubs, host) {
		other = ownerPolicy
	}
	keys := map[string]string{}
	for name, key := range s.cfg.Keys {
		if name != other {
			keys[name] = key
		}
	}
	return keys
}
