package dpsreg

import (
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"time"

	"mintmark/dpsreg/dps"
	"mintmark/dpsreg/hub"
	"mintmark/dpsreg/rest"
)

// session is the clients of one target. Calls are paced and their answers bounded.
// Reads are made again when they fail in passing; changes are made once: see retry.
type session struct {
	target       Target
	certificates armCertificates
	dps          *dps.Client
	hubs         map[string]*hub.Client // by host name, as it is configured

	of       [sha256.Size]byte // hash of all that the clients depend on
	limiters map[string]*limiter
	http     *http.Client
}

// connection hashes what the clients of a target depend on, the contents of files
// included.
func (t Target) connection(secret func(string) ([]byte, error)) ([sha256.Size]byte, error) {
	data, err := json.Marshal([]any{t.SubscriptionID, t.ResourceGroup, t.Service, t.Identity, t.SAS, t.Connect, t.Hubs, t.OpsPerMinute})
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	var files []string
	for _, sas := range append([]*SAS{t.SAS}, hubPolicies(t.Hubs)...) {
		if sas != nil {
			files = append(files, sas.KeyFile)
		}
	}
	for _, file := range append(files, t.Identity.SecretFile, t.Identity.CertificateFile) {
		if file == "" {
			continue
		}
		content, err := secret(file)
		if err != nil {
			return [sha256.Size]byte{}, err
		}
		sum := sha256.Sum256(content)
		data = append(data, sum[:]...)
	}
	return sha256.Sum256(data), nil
}

func hubPolicies(hubs []Hub) []*SAS {
	policies := make([]*SAS, len(hubs))
	for i, h := range hubs {
		policies[i] = h.SAS
	}
	return policies
}

// connect makes the clients of a target. What was the pace of old ones is that of the
// new ones.
func connect(t Target, old *session, secret func(string) ([]byte, error), now func() time.Time) (*session, error) {
	silence()
	client, err := t.Connect.httpClient()
	if err != nil {
		return nil, err
	}
	credential, err := t.Identity.credential(client, t.Connect, secret)
	if err != nil {
		return nil, err
	}
	credential = plainCredential{credential}
	s := &session{http: client, hubs: make(map[string]*hub.Client), limiters: make(map[string]*limiter)}
	quota := t.OpsPerMinute
	if quota <= 0 {
		quota = defaultOps
	}
	pace := func(host string, l *limiter) *limiter {
		if old != nil && old.limiters[host] != nil && old.limiters[host].rate == l.rate {
			l = old.limiters[host]
		}
		s.limiters[host] = l
		return l
	}
	api := func(host, version, scope string, sas *SAS, l *limiter) (*rest.Client, error) {
		a, err := authorization(host, sas, credential, scope, secret, now)
		if err != nil {
			return nil, err
		}
		return &rest.Client{
			Base: "https://" + host, APIVersion: version, Authorization: a, HTTP: client,
			Wait: l.wait, Throttled: l.stop, Again: readAgain,
		}, nil
	}
	host := t.Service + ".azure-devices-provisioning.net"
	service := pace(host, newLimiter(quota))
	plane, err := api(host, dps.APIVersion, rest.ScopeDPS, t.SAS, service)
	if err != nil {
		return nil, err
	}
	s.dps = dps.New(plane)
	for _, h := range t.Hubs {
		registry, err := api(h.Host, hub.APIVersion, rest.ScopeHub, h.SAS, pace(h.Host, newLimiter(hubOps)))
		if err != nil {
			return nil, err
		}
		s.hubs[h.Host] = hub.New(registry)
	}
	s.certificates, err = certificates(t.SubscriptionID, credential, client, pace(armHost, newBucket(armRate, armBurst)))
	return s, err
}
