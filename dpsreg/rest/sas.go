package rest

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// sasLifetime is how long a token is good. It is renewed at half of that, so that a
// clock that is some minutes off does no harm.
const sasLifetime = 10 * time.Minute

// SAS authorises with a shared access policy of a host. It may be used concurrently.
//
// Source: https://learn.microsoft.com/azure/iot-dps/how-to-control-access
type SAS struct {
	host, policy string
	key          []byte
	now          func() time.Time

	mu      sync.Mutex
	token   string
	renewal time.Time
}

// NewSAS returns an authorization by a policy of host; key is its key, base64 as the
// portal shows it. Now may be nil for time.Now. Errors do not hold the key.
func NewSAS(host, policy, key string, now func() time.Time) (*SAS, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(key))
	switch {
	case host == "" || strings.ContainsAny(host, "/ "):
		return nil, fmt.Errorf("shared access policy: %q is not the name of a host", host)
	case policy == "":
		return nil, errors.New("shared access policy: it has no name")
	case err != nil: // its text would hold part of the key
		return nil, fmt.Errorf("shared access policy %q: the key is not base64", policy)
	case len(raw) < 16:
		return nil, fmt.Errorf("shared access policy %q: the key has %d bytes, it must have at least 16", policy, len(raw))
	}
	if now == nil {
		now = time.Now
	}
	return &SAS{host: strings.ToLower(host), policy: policy, key: raw, now: now}, nil
}

// Header implements Authorization. It makes no call and never fails.
func (s *SAS) Header(context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	// A clock that was set back makes a token that is too long good for too long.
	if s.token == "" || !now.Before(s.renewal) || s.renewal.Sub(now) > sasLifetime {
		s.token = sasToken(s.host, s.policy, s.key, now.Add(sasLifetime))
		s.renewal = now.Add(sasLifetime / 2)
	}
	return s.token, nil
}

// sasToken signs resource and expiry. The resource is signed as it stands in the token,
// escaped.
func sasToken(host, policy string, key []byte, expiry time.Time) string {
	resource := escape(host)
	se := strconv.FormatInt(expiry.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(resource + "\n" + se))
	signature := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return "SharedAccessSignature sr=" + resource + "&sig=" + escape(signature) + "&se=" + se + "&skn=" + escape(policy)
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// String keeps the key out of whatever prints it.
func (s *SAS) String() string { return "shared access policy " + s.policy + " of " + s.host }

// GoString is for %#v what String is for %v.
func (s *SAS) GoString() string { return s.String() }
