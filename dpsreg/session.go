package dpsreg

import (
	"context"
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
	if t.SAS != nil {
		files = append(files, t.SAS.KeyFile)
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
	for _, h := range t.Hubs {
		if h.SAS != nil {
			// One that cannot be read is as an empty one: see noAuthorization.
			content, _ := secret(h.SAS.KeyFile)
			sum := sha256.Sum256(content)
			data = append(data, sum[:]...)
		}
	}
	if t.Connect.Trust != "" {
		content, err := readTrustFile(t.Connect.Trust)
		if err != nil {
			return [sha256.Size]byte{}, err
		}
		sum := sha256.Sum256(content)
		data = append(data, sum[:]...)
	}
	return sha256.Sum256(data), nil
}

// noAuthorization fails every call of a hub whose key is not there. What DPS is to be told does
// not wait for that.
type noAuthorization struct{ err error }

func (n noAuthorization) Header(context.Context) (string, error) { return "", n.err }

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
	api := func(host, version string, a rest.Authorization, l *limiter) *rest.Client {
		return &rest.Client{
			Base: "https://" + host, APIVersion: version, Authorization: a, HTTP: client,
			Wait: l.wait, Throttled: l.stop, Again: readAgain,
		}
	}
	host := t.Service + ".azure-devices-provisioning.net"
	plane, err := authorization(host, t.SAS, credential, rest.ScopeDPS, secret, now)
	if err != nil {
		return nil, err
	}
	s.dps = dps.New(api(host, dps.APIVersion, plane, pace(host, newLimiter(quota))))
	for _, h := range t.Hubs {
		registry, err := authorization(h.Host, h.SAS, credential, rest.ScopeHub, secret, now)
		if err != nil {
			registry = noAuthorization{err}
		}
		s.hubs[h.Host] = hub.New(api(h.Host, hub.APIVersion, registry, pace(h.Host, newLimiter(hubOps))))
	}
	s.certificates, err = certificates(t.SubscriptionID, credential, client, pace(armHost, newBucket(armRate, armBurst)))
	return s, err
}
