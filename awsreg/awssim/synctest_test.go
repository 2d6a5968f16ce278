package awssim

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	paho "github.com/eclipse/paho.mqtt.golang"
)

// allowAll lets a device do everything.
const allowAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`

// memory are listeners on net.Pipe, by address.
type memory struct {
	listeners map[string]*pipeListener
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	addr   memoryAddr
}

type memoryAddr string

func (memoryAddr) Network() string  { return "memory" }
func (a memoryAddr) String() string { return string(a) }

func (m *memory) listen(_, address string) (net.Listener, error) {
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{}), addr: memoryAddr(address)}
	m.listeners[address] = l
	return l, nil
}

func (m *memory) dial(ctx context.Context, _, address string) (net.Conn, error) {
	l := m.listeners[address]
	if l == nil {
		return nil, errors.New("nobody listens on " + address)
	}
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return l.addr }

// TestInABubble runs the whole simulator on virtual time: half a minute of
// throttled calls, and a device that connects and is idle for an hour. The bubble ends only if
// no goroutine is left.
func TestInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{listeners: map[string]*pipeListener{}}
		s, err := Start(ctx, Config{
			Accounts: []Account{first}, Region: region, Listen: m.listen, Control: "127.0.0.1:4566", Broker: "127.0.0.1:8883", Quotas: &Quotas{},
		})
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{DialContext: m.dial}
		c := iot.New(iot.Options{
			Region: region, BaseEndpoint: aws.String(s.ControlURL()), HTTPClient: &http.Client{Transport: transport},
			Credentials: credentials.NewStaticCredentialsProvider(first.AccessKeyID, first.SecretAccessKey, ""),
			Retryer:     retry.AddWithMaxAttempts(retry.NewStandard(func(o *retry.StandardOptions) { o.RateLimiter = noLimit{} }), 100),
		})
		start := time.Now()
		const n = 300
		for i := range n {
			name := "policy-" + string(rune('a'+i%26)) + time.Now().Format("150405.000000000")
			if _, err := c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: &name, PolicyDocument: aws.String(allowAll)}); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took < (n-10)*time.Second/10 {
			t.Errorf("%d calls at ten a second took %s", n, took)
		}

		ca := newCA(t, "Bubble CA")
		ca.mustRegister(t, c)
		dev := ca.issue(t, pkix.Name{CommonName: "device"}, func(x *x509.Certificate) { x.NotAfter = time.Now().AddDate(1, 0, 0) })
		out, err := c.RegisterCertificate(ctx, &iot.RegisterCertificateInput{CertificatePem: &dev.pem, Status: "ACTIVE"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("all"), PolicyDocument: aws.String(allowAll)}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String("all"), Target: out.CertificateArn}); err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(s.RootPEM())
		conf := &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{{Certificate: [][]byte{dev.cert.Raw}, PrivateKey: dev.key}}}
		o := paho.NewClientOptions().AddBroker("ssl://" + s.BrokerAddr()).SetClientID("device").SetAutoReconnect(false).SetProtocolVersion(4)
		o.SetCustomOpenConnectionFn(func(_ *url.URL, _ paho.ClientOptions) (net.Conn, error) {
			raw, err := m.dial(ctx, "tcp", s.BrokerAddr())
			if err != nil {
				return nil, err
			}
			return tls.Client(raw, conf), nil
		})
		device := paho.NewClient(o)
		if tok := device.Connect(); tok.Wait() && tok.Error() != nil {
			t.Fatal(tok.Error())
		}
		time.Sleep(time.Hour)
		if !device.IsConnected() {
			t.Error("the device did not stay connected for an hour")
		}
		resp, err := (&http.Client{Transport: transport}).Get(s.ControlURL() + "/_sim/state")
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || len(text) == 0 {
			t.Errorf("state: %s %v", resp.Status, err)
		}
		resp.Body.Close()
		device.Disconnect(0)
		transport.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// noLimit takes the SDK's own budget of retries away.
type noLimit struct{}

func (noLimit) GetToken(context.Context, uint) (func() error, error) {
	return func() error { return nil }, nil
}
func (noLimit) AddTokens(uint) error { return nil }

// TestCloseWaitsForRequests: a request that is being served is over before Close
// returns, and none begins after.
func TestCloseWaitsForRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{listeners: map[string]*pipeListener{}}
		s, err := Start(ctx, Config{Accounts: []Account{first}, Region: region, Listen: m.listen, Control: "127.0.0.1:1", Broker: "127.0.0.1:2"})
		if err != nil {
			t.Fatal(err)
		}
		body, more := io.Pipe()
		served, closed := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(served)
			s.controlHandler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/", body))
		}()
		synctest.Wait()
		go func() {
			defer close(closed)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("Close returned while a request was being served")
		default:
		}
		more.Close()
		<-served
		<-closed
		late := httptest.NewRecorder()
		s.controlHandler().ServeHTTP(late, httptest.NewRequest("GET", "/_sim/endpoints", nil))
		if late.Code != http.StatusServiceUnavailable {
			t.Errorf("a request after the end: status %d", late.Code)
		}
	})
}
