package dpssim

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
)

// handler sends a request to the service that its Host header names.
func (s *Sim) handler() http.Handler {
	debug := s.debugHandler()
	service := s.cfg.serviceHost()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.enter() {
			http.Error(w, "the simulator is closed", http.StatusServiceUnavailable)
			return
		}
		defer s.wg.Done()
		host := hostOf(r)
		if strings.HasPrefix(r.URL.Path, "/_sim/") {
			debug.ServeHTTP(w, r)
			return
		}
		if !slices.Contains(s.cfg.hosts(), host) {
			s.refuseHost(w, host)
			return
		}
		// Azure's front ends tell services apart by the server name. A client whose two
		// names differ would reach another service there (RFC 9110, section 15.5.20).
		if name := strings.ToLower(r.TLS.ServerName); name != host {
			s.note("host.misdirected", "TLS server name and Host header differ", "serverName", name, "host", host)
			http.Error(w, fmt.Sprintf("the TLS server name is %q and the Host header %q: they must be the same", name, host),
				http.StatusMisdirectedRequest)
			return
		}
		switch {
		case host == loginHost:
			s.serveEntra(w, r)
		case host == managementHost:
			s.serveARM(w, r)
		case host == globalHost:
			s.serveDevice(w, r)
		case host == service && devicePath(r.URL.Path):
			s.serveDevice(w, r)
		case host == service:
			s.serveData(w, r)
		default:
			s.serveHub(w, r, host)
		}
	})
}

// devicePath reports whether a path is of the device API, /{idScope}/registrations/...;
// those of the data plane begin with the collection.
func devicePath(path string) bool {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	second, _, _ := strings.Cut(rest, "/")
	return strings.EqualFold(second, "registrations") && !slices.ContainsFunc([]string{"registrations", "enrollments", "enrollmentgroups"},
		func(collection string) bool { return strings.EqualFold(first, collection) })
}

// refuseHost says what there is, for whoever comes by a name that nobody has.
func (s *Sim) refuseHost(w http.ResponseWriter, host string) {
	s.note("host.unknown", "there is no such host here", "host", host)
	address := s.Addr()
	http.Error(w, fmt.Sprintf("This is mintmark's Azure simulator, and %q is not one of its hosts:\n\n  %s\n\n"+
		"Keep these names and connect elsewhere, for example\n\n"+
		"  curl --cacert root.pem --connect-to ::%s https://%s/\n", clip(host, 256), strings.Join(s.cfg.hosts(), "\n  "), address, managementHost),
		http.StatusNotFound)
}

// hostOf is the lower-case name in the Host header, without a port.
func hostOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
