package hook

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// maxChain bounds the certificates that a client sends.
const maxChain = 10

// CallbackEvent is what AWS IoT Core sends to the client-certificate callback of a
// domain configuration, at each connection.
// https://docs.aws.amazon.com/iot/latest/developerguide/customize-client-auth.html
type CallbackEvent struct {
	ConnectionMetadata struct {
		ID string `json:"id"`
	} `json:"connectionMetadata"`
	PrincipalID string `json:"principalId"`
	ServerName  string `json:"serverName"`
	// ClientCertificateChain is in PEM, the client's own certificate first.
	ClientCertificateChain []string `json:"clientCertificateChain"`
}

// CallbackAnswer is what the callback answers.
type CallbackAnswer struct {
	IsAuthenticated bool `json:"isAuthenticated"`
}

// ParseCallbackEvent reads an event and checks the fields that are acted upon.
func ParseCallbackEvent(data []byte) (CallbackEvent, error) {
	if len(data) > 4*maxEvent {
		return CallbackEvent{}, fmt.Errorf("callback event is %d bytes long, more than %d", len(data), 4*maxEvent)
	}
	var e CallbackEvent
	if err := json.Unmarshal(data, &e); err != nil {
		return CallbackEvent{}, fmt.Errorf("parsing callback event: %w", err)
	}
	if _, err := e.chain(); err != nil {
		return CallbackEvent{}, fmt.Errorf("callback event: %w", err)
	}
	return e, nil
}

// chain is what the client sent, its own certificate first.
func (e CallbackEvent) chain() ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for _, text := range e.ClientCertificateChain {
		// An element may hold more than one.
		for strings.TrimSpace(text) != "" {
			block, rest := pem.Decode([]byte(text))
			if block == nil || block.Type != "CERTIFICATE" {
				return nil, errors.New("clientCertificateChain holds something that is no certificate in PEM")
			}
			if len(chain) == maxChain {
				return nil, fmt.Errorf("clientCertificateChain has more than %d certificates", maxChain)
			}
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("clientCertificateChain: parsing certificate %d: %w", len(chain)+1, err)
			}
			chain, text = append(chain, c), string(rest)
		}
	}
	switch {
	case e.PrincipalID == "":
		return nil, errors.New("principalId is missing")
	case len(chain) == 0:
		return nil, errors.New("clientCertificateChain is empty")
	case ValidID(e.PrincipalID) && id(sha256.Sum256(chain[0].Raw)) != e.PrincipalID:
		return nil, errors.New("clientCertificateChain does not begin with the certificate of principalId")
	}
	return chain, nil
}
