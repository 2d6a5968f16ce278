package awssim

import (
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"sync"
	"time"
)

// maxSessions bounds the temporary credentials that are kept. Expired ones make
// room first.
const maxSessions = 10000

// credential is who signed a request. Those of an assumed role have a session
// token and an end.
type credential struct {
	account Account
	key     string
	secret  string
	token   string // empty for the key of an account
	expires time.Time
	arn     string
	userID  string
}

func (c credential) temporary() bool { return c.token != "" }

// keyring knows the access keys that sign. Copies share their keys.
type keyring struct {
	accounts []Account
	sessions *sessionKeys
}

// sessionKeys are the temporary credentials, by access key id.
type sessionKeys struct {
	mu  sync.Mutex
	all map[string]credential
}

func newKeyring(accounts []Account) keyring {
	return keyring{accounts: accounts, sessions: &sessionKeys{all: map[string]credential{}}}
}

// find returns the credential of an access key. Temporary credentials are good
// only with their session token and until they expire (AWS Identity and Access
// Management user guide, id_credentials_temp_use-resources); the key of an
// account has no token.
func (k keyring) find(key, token string, now time.Time) (credential, *apiError) {
	unknown := &apiError{code: "InvalidClientTokenId", status: http.StatusForbidden,
		message: "The security token included in the request is invalid."}
	for _, a := range k.accounts {
		if a.AccessKeyID != key {
			continue
		}
		if token != "" {
			return credential{}, unknown
		}
		return credential{
			account: a, key: key, secret: a.SecretAccessKey,
			arn: "arn:aws:iam::" + a.ID + ":user/simulated", userID: key,
		}, nil
	}
	k.sessions.mu.Lock()
	c, ok := k.sessions.all[key]
	k.sessions.mu.Unlock()
	switch {
	case !ok || subtle.ConstantTimeCompare([]byte(c.token), []byte(token)) != 1:
		return credential{}, unknown
	case !now.Before(c.expires):
		return credential{}, &apiError{code: "ExpiredTokenException", status: http.StatusForbidden,
			message: "The security token included in the request is expired"}
	}
	return c, nil
}

// lend makes temporary credentials for an account.
func (k keyring) lend(a Account, arn, roleID string, now, expires time.Time, session string) (credential, error) {
	c := credential{
		account: a, key: "ASIA" + rand.Text()[:16], secret: rand.Text() + rand.Text()[:14],
		token: rand.Text() + rand.Text() + rand.Text(), expires: expires, arn: arn, userID: roleID + ":" + session,
	}
	k.sessions.mu.Lock()
	defer k.sessions.mu.Unlock()
	if len(k.sessions.all) >= maxSessions {
		for key, old := range k.sessions.all {
			if !now.Before(old.expires) {
				delete(k.sessions.all, key)
			}
		}
	}
	if len(k.sessions.all) >= maxSessions {
		return credential{}, &apiError{code: "ServiceUnavailable", status: http.StatusServiceUnavailable,
			message: "the simulator holds too many sessions of assumed roles"}
	}
	k.sessions.all[c.key] = c
	return c, nil
}
