package claim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// alpn is asked for on port 443 (AWS IoT developer guide, protocols).
const alpn = "x-amzn-mqtt-ca"

// errLost means that the connection broke before an answer came.
var errLost = errors.New("the connection broke")

// session is one MQTT connection. It has one request under way at a time.
type session struct {
	client  mqtt.Client
	answers chan mqtt.Message
	lost    chan struct{}
	wait    time.Duration // for each answer
	topics  map[string]bool
}

// open connects. AWS closes the connection of a certificate that it does not let in
// without a word, so that such an end is an error like any other.
func open(ctx context.Context, cfg Config) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Answer)
	defer cancel()
	s := &session{answers: make(chan mqtt.Message, 8), lost: make(chan struct{}), wait: cfg.Answer, topics: map[string]bool{}}
	tlsConn, err := dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	conn := &framedConn{Conn: tlsConn}
	var once sync.Once
	o := mqtt.NewClientOptions().AddBroker("ssl://" + cfg.Endpoint).SetClientID(cfg.ClientID).SetProtocolVersion(4).
		SetCleanSession(true).SetAutoReconnect(false).SetConnectRetry(false).SetConnectTimeout(cfg.Answer).
		SetKeepAlive(30 * time.Second).SetWriteTimeout(cfg.Answer).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return conn, nil }).
		SetConnectionLostHandler(func(mqtt.Client, error) { once.Do(func() { close(s.lost) }) }).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
			select {
			case s.answers <- m:
			default: // more answers than requests
			}
		})
	s.client = mqtt.NewClient(o)
	// The MQTT client waits for the CONNACK without a limit of its own.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	token := s.client.Connect()
	<-token.Done()
	if !stop() || token.Error() != nil {
		conn.Close()
		err := Cause(token.Error())
		if ctx.Err() != nil {
			err = ctx.Err()
		} else if cause := conn.cause(); cause != nil {
			err = cause // in TLS 1.3 the alert about a client certificate comes only here
		}
		if !Closed(err) {
			return nil, fmt.Errorf("connecting as %s: %w", cfg.ClientID, err)
		}
		return nil, &notLetIn{cfg.ClientID, err}
	}
	return s, nil
}

// notLetIn is the end of a connection that AWS closed before it was accepted.
type notLetIn struct {
	clientID string
	err      error
}

func (e *notLetIn) Unwrap() error { return e.err }

func (e *notLetIn) Error() string {
	return fmt.Sprintf("connecting as %s: %v; AWS closes the connection of a certificate that is not active, or whose policy does not allow the client id, without a reason", e.clientID, e.err)
}

// IsNotLetIn reports whether AWS closed a connection before it accepted it, as it
// does to a certificate that is not active and to a client id that is not allowed.
func IsNotLetIn(err error) bool {
	var e *notLetIn
	return errors.As(err, &e)
}

// dial opens the TLS connection.
func dial(ctx context.Context, cfg Config) (*tls.Conn, error) {
	raw, err := cfg.Dial(ctx, "tcp", cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", cfg.Endpoint, err)
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: cfg.ServerName, RootCAs: cfg.Roots,
		// Whatever authorities the server names: AWS finds the certificate by its hash.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cfg.Certificate, nil },
	}
	_, port, _ := net.SplitHostPort(cfg.Endpoint)
	if port == "443" {
		config.NextProtos = []string{alpn}
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("TLS with %s: %w", cfg.Endpoint, err)
	}
	if port == "443" && conn.ConnectionState().NegotiatedProtocol != alpn {
		raw.Close()
		return nil, &permanent{fmt.Errorf("TLS with %s: the server does not speak %s on port 443", cfg.Endpoint, alpn)}
	}
	return conn, nil
}

func (s *session) close() { s.client.Disconnect(100) }

// request publishes a request and waits for its answer. It subscribes to both answers
// first, once in a session. The error is a *Rejection if AWS refused, and wraps
// errLost if the connection broke or no answer came.
func (s *session) request(ctx context.Context, operation, topic string, payload []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	for _, answer := range []string{topic + "/accepted", topic + "/rejected"} {
		if s.topics[answer] {
			continue
		}
		token := s.client.Subscribe(answer, 1, nil)
		if err := s.done(ctx, token); err != nil {
			return nil, fmt.Errorf("subscribing to %s: %w", answer, err)
		}
		if granted, ok := token.(*mqtt.SubscribeToken); ok && granted.Result()[answer] > 1 {
			return nil, &permanent{fmt.Errorf("subscribing to %s: refused; the policy of the certificate does not allow it", answer)}
		}
		s.topics[answer] = true
	}
	if err := s.done(ctx, s.client.Publish(topic, 1, false, payload)); err != nil {
		return nil, fmt.Errorf("publishing to %s: %w; AWS closes the connection if the policy of the certificate does not allow it", topic, err)
	}
	for {
		select {
		case m := <-s.answers:
			kind, ok := strings.CutPrefix(m.Topic(), topic+"/")
			switch {
			case ok && kind == "accepted":
				return m.Payload(), nil
			case ok && kind == "rejected":
				return nil, parseRejection(operation, m.Payload())
			}
		case <-s.lost:
			return nil, fmt.Errorf("waiting for the answer of %s: %w", operation, errLost)
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the answer of %s: %w: %w", operation, errLost, ctx.Err())
		}
	}
}

// done waits for an MQTT acknowledgement.
func (s *session) done(ctx context.Context, token mqtt.Token) error {
	select {
	case <-token.Done():
		if err := token.Error(); err != nil {
			return fmt.Errorf("%w: %w", errLost, err)
		}
		return nil
	case <-s.lost:
		return errLost
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errLost, ctx.Err())
	}
}
