package admin

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

const (
	// MaxPIN is how many bytes a PIN, or one person's part of it, may have.
	MaxPIN = 255
	// MaxUnlock bounds the body of an unlock request, in bytes.
	MaxUnlock = 4 << 10
)

// HSMToken is a PKCS#11 token that keys are in.
type HSMToken struct {
	Name string `json:"name"`
	// Legs are the token itself and then its spare, if there is one.
	Legs []HSMLeg `json:"legs"`
}

// HSMLeg is how a token, or the spare of it, is.
type HSMLeg struct {
	Spare bool `json:"spare"`
	// State is idle, ready, opening, absent, failing, locked or refused.
	State string `json:"state"`
	// Since is when it came into that state.
	Since *time.Time `json:"since,omitempty"`
	// Detail is the last failure in words.
	Detail string `json:"detail,omitempty"`
	// Problems are those of single keys: one that is not there, hangs or has
	// attributes to know of.
	Problems []string `json:"problems,omitempty"`
	// Label and the rest are what the library says of the token; empty until it was
	// found.
	Label        string `json:"label,omitempty"`
	Serial       string `json:"serial,omitempty"`
	Manufacturer string `json:"manufacturer,omitempty"`
	Model        string `json:"model,omitempty"`
	Library      string `json:"library,omitempty"`
	// Sessions are open now.
	Sessions int `json:"sessions"`
	// PartsTyped of PartsNeeded parts of the PIN were typed, while it waits for
	// operators.
	PartsTyped  int `json:"parts_typed,omitempty"`
	PartsNeeded int `json:"parts_needed,omitempty"`
	// PartsBy are those who have typed one: the next is another person's.
	PartsBy []string `json:"parts_by,omitempty"`
	// Reopens counts, by cause, how often sessions were opened anew.
	Reopens map[string]int `json:"reopens,omitempty"`
}

// HSMUnlock is one person's part in unlocking a token.
type HSMUnlock struct {
	// Spare is set for the spare.
	Spare bool `json:"spare,omitempty"`
	// PIN is the PIN, or the caller's part of it; empty where the token asks for it
	// itself, and to have the configured one tried.
	PIN []byte `json:"pin,omitempty"`
	// Again has the configured PIN tried once more after it was refused.
	Again bool `json:"again,omitempty"`
	// FinalTry has a PIN tried although one more wrong one locks the token.
	FinalTry bool `json:"final_try,omitempty"`
}

// HSM says how the tokens are.
func (c *Client) HSM(ctx context.Context) ([]HSMToken, error) {
	return call[[]HSMToken](ctx, c, http.MethodGet, "/v1/hsm", nil, nil)
}

// UnlockHSM gives a token its PIN, or the caller's part of it, and says how the
// token is then. It wipes u.PIN and what it made of it, whatever happens; what the
// connection's buffers hold is beyond it.
func (c *Client) UnlockHSM(ctx context.Context, name string, u HSMUnlock) (HSMToken, error) {
	defer clear(u.PIN)
	var out HSMToken
	if len(u.PIN) > MaxPIN {
		return out, fmt.Errorf("the PIN is longer than %d bytes", MaxPIN)
	}
	// Not by encoding/json, which keeps its buffers.
	body := make([]byte, 0, MaxUnlock)
	defer func() { clear(body[:cap(body)]) }()
	body = append(body, `{"pin":"`...)
	body = base64.StdEncoding.AppendEncode(body, u.PIN)
	body = append(body, `","spare":`...)
	body = strconv.AppendBool(body, u.Spare)
	body = append(body, `,"again":`...)
	body = strconv.AppendBool(body, u.Again)
	body = append(body, `,"final_try":`...)
	body = strconv.AppendBool(body, u.FinalTry)
	body = append(body, '}')
	// Only closed bodies are read no more: the transport may go on sending after it
	// has answered.
	content := &unlockBody{Reader: bytes.NewReader(body), closed: make(chan struct{})}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/v1/hsm/"+url.PathEscape(name)+"/unlock", content)
	if err != nil {
		return out, err
	}
	r.ContentLength = int64(len(body))
	r.Header.Set("Content-Type", "application/json")
	answer, err := c.do(r)
	if err == nil {
		defer answer.Body.Close()
		var text []byte
		if text, err = io.ReadAll(io.LimitReader(answer.Body, MaxRequest)); err == nil {
			err = json.Unmarshal(text, &out)
		}
		if err != nil {
			err = fmt.Errorf("decoding the server's answer: %w", err)
		}
	}
	<-content.closed
	return out, err
}

// unlockBody says when the transport is done with it, as RoundTripper promises.
type unlockBody struct {
	*bytes.Reader
	closed chan struct{}
	once   sync.Once
}

func (b *unlockBody) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}
