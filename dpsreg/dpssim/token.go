package dpssim

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// tokenLife is how long an access token is good. Entra's default is a random time
// between 60 and 90 minutes
// (https://learn.microsoft.com/entra/identity-platform/configurable-token-lifetimes).
const tokenLife = time.Hour

// maxToken bounds the length of an access token, in bytes.
const maxToken = 2048

// Why a call does not authenticate, where a service says so.
var (
	errNoAuthorization = errors.New("there is no Authorization header")
	errTokenExpired    = errors.New("the access token has expired")
	errTokenAudience   = errors.New("the access token is for another service")
)

// tokens makes and checks access tokens. They are no JWTs as Entra's, which clients must
// treat as opaque anyhow. Their key comes from the client secret, so that they outlive
// the simulator as those of Entra outlive a restart of DPS.
type tokens struct {
	now func() time.Time
	key [sha256.Size]byte
}

func newTokens(cfg Config) *tokens {
	return &tokens{now: cfg.TokenTime, key: sha256.Sum256([]byte("access tokens of " + cfg.TenantID + "\n" + cfg.ClientSecret))}
}

// accessToken is what a token says.
type accessToken struct {
	Audience string `json:"aud"`
	Expires  int64  `json:"exp"` // unix seconds
	ID       string `json:"jti"`
}

func (t *tokens) mac(payload string) string {
	m := hmac.New(sha256.New, t.key[:])
	m.Write([]byte(payload))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// issue makes a token for an audience.
func (t *tokens) issue(audience string) (string, error) {
	text, err := json.Marshal(accessToken{audience, t.now().Add(tokenLife).Unix(), rand.Text()})
	if err != nil {
		return "", fmt.Errorf("making an access token: %w", err)
	}
	payload := base64.RawURLEncoding.EncodeToString(text)
	return payload + "." + t.mac(payload), nil
}

// verify checks that a token was made for one of the audiences and is still good.
func (t *tokens) verify(token string, audiences []string) error {
	payload, mac, found := strings.Cut(token, ".")
	if !found || len(token) > maxToken || !hmac.Equal([]byte(mac), []byte(t.mac(payload))) {
		return errors.New("the access token is not one that was given out here")
	}
	var a accessToken
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	switch {
	case err != nil:
		return errors.New("the access token cannot be read")
	case t.now().Unix() >= a.Expires:
		return errTokenExpired
	case !slices.Contains(audiences, a.Audience):
		return fmt.Errorf("%w: %s, not %s", errTokenAudience, a.Audience, audiences[0])
	}
	return nil
}
