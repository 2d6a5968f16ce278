package awssim

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"sync"
	"time"
)

// Timeouts of the broker before MQTT's own keep-alive takes over.
const (
	handshakeTimeout = 10 * time.Second
	connectTimeout   = 10 * time.Second
)

// errExpired refuses a device certificate outside its validity period, in the
// handshake. The device sees an alert; no event and no log of AWS shows it.
var errExpired = errors.New("the device certificate is outside its validity period")

// deviceConn is a TLS connection of a device, from its first MQTT byte on.
type deviceConn struct {
	net.Conn // the TLS connection
	r        *bufio.Reader
	id       string // certificate id
	leaf     *x509.Certificate
	chain    []*x509.Certificate // what the device sent after its certificate
	sni      string
	remote   string

	// Set by the broker's hook before the session exists; read by its later calls.
	clientID string
	cert     *certificate

	approved approvals
	session  deviceSession
	asking   sync.Mutex // held while a request for provisioning is under way
}

func (d *deviceConn) Read(p []byte) (int, error) { return d.r.Read(p) }

// acceptDevices accepts connections until the broker's listener is closed.
func (s *Sim) acceptDevices() {
	for {
		raw, err := s.broker.Accept()
		if err != nil {
			select {
			case <-s.done:
				return
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.cfg.Logger.Warn("accepting a device", "err", err)
			time.Sleep(10 * time.Millisecond) // out of file descriptors, most likely
			continue
		}
		s.mu.Lock()
		if s.closed || len(s.conns) >= maxConnections {
			s.mu.Unlock()
			raw.Close()
			continue
		}
		s.conns[raw] = struct{}{}
		s.wg.Go(func() {
			s.serveDevice(raw)
			raw.Close()
			s.mu.Lock()
			delete(s.conns, raw)
			s.mu.Unlock()
		})
		s.mu.Unlock()
	}
}

// serveDevice takes one connection through TLS to the broker of its world.
func (s *Sim) serveDevice(raw net.Conn) {
	alerts := &alertConn{Conn: raw}
	conn := tls.Server(alerts, s.deviceTLS(alerts))
	raw.SetDeadline(time.Now().Add(handshakeTimeout))
	if err := conn.Handshake(); err != nil {
		s.cfg.Logger.Info("handshake refused", "remote", raw.RemoteAddr(), "err", err)
		return
	}
	state := conn.ConnectionState()
	d := &deviceConn{
		Conn: conn, r: bufio.NewReader(conn), leaf: state.PeerCertificates[0], chain: state.PeerCertificates[1:],
		id: certificateID(state.PeerCertificates[0]), sni: state.ServerName, remote: hostOf(raw.RemoteAddr()),
	}
	// Registration happens on the CONNECT packet, not on the handshake (measured on
	// the real service by the authors of ministack): nothing is decided before the
	// first byte of MQTT.
	raw.SetDeadline(time.Now().Add(connectTimeout))
	if _, err := d.r.Peek(1); err != nil {
		return
	}
	w, why := s.route(d)
	if w == nil {
		s.events.add(event{Kind: "connect.refused", Message: why, Details: map[string]string{
			"certificateId": d.id, "serverName": d.sni, "sourceIp": d.remote}})
		s.cfg.Logger.Info("device refused", "remote", d.remote, "certificate", d.id, "reason", why)
		return
	}
	err := w.broker.EstablishConnection("tls", d)
	w.endSession(d)
	s.cfg.Logger.Debug("device gone", "remote", d.remote, "certificate", d.id, "err", err)
}

// deviceTLS asks for a client certificate and accepts any that is in its validity
// period. The broker does not consult CRLs or OCSP, as AWS's does not.
func (s *Sim) deviceTLS(alerts *alertConn) *tls.Config {
	base := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: s.tls.certificate,
		ClientAuth:     tls.RequireAnyClientCert,
		// AWS IoT developer guide, protocols: port 443 asks for this name, port 8883
		// for none.
		NextProtos: []string{"x-amzn-mqtt-ca"},
		Time:       s.cfg.Now,
		// A resumed session would skip the check below.
		SessionTicketsDisabled: true,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			leaf, err := x509.ParseCertificate(raw[0])
			if err != nil {
				return err
			}
			if now := s.cfg.Now(); now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
				alerts.unknown = true
				return errExpired
			}
			return nil
		},
	}
	// The endpoint that is named may want other versions.
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		one := base.Clone()
		one.MinVersion, one.MaxVersion = s.versionsFor(hello.ServerName)
		return one, nil
	}
	return base
}

// alertConn makes the alert for an expired certificate the one that AWS devices
// report, certificate_unknown (46): crypto/tls sends bad_certificate (42) for any
// refusal of VerifyPeerCertificate. In TLS 1.2 that alert is still in clear text;
// in TLS 1.3 it is encrypted and stays as it is.
type alertConn struct {
	net.Conn
	unknown bool
}

func (c *alertConn) Write(p []byte) (int, error) {
	if c.unknown && bytes.Equal(p, []byte{21, 3, 3, 0, 2, 2, 42}) {
		p = []byte{21, 3, 3, 0, 2, 2, 46}
	}
	return c.Conn.Write(p)
}

// route finds the world that a connection belongs to: the one its SNI names, else
// the one that knows its certificate, else the one whose CA it presents.
func (s *Sim) route(d *deviceConn) (*world, string) {
	s.mu.Lock()
	worlds := s.sortedWorlds()
	s.mu.Unlock()
	if account, region, ok := s.tls.endpoint(d.sni); ok {
		for _, w := range worlds {
			if w.account.ID == account && w.region == region {
				return w, ""
			}
		}
		return nil, "the server name is of a Region that nobody has used yet"
	}
	for _, w := range worlds {
		if w.knows(d) {
			return w, ""
		}
	}
	for _, w := range worlds {
		if w.presents(d) {
			return w, ""
		}
	}
	return nil, "the certificate is not registered, and without SNI of an AWS endpoint its registered CA must be sent in the chain"
}

// knows reports whether a certificate is registered for use without SNI.
func (w *world) knows(d *deviceConn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	cert, ok := w.lookupCert(d.id)
	return ok && cert.mode == modeDefault
}

func (w *world) presents(d *deviceConn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	ca, _ := w.issuerOf(d, false)
	return ca != nil
}

// sessionsOf lists the connections of a certificate. The caller holds w.mu.
func (w *world) sessionsOf(certID string) []*deviceConn {
	var out []*deviceConn
	for d := range w.sessions[certID] {
		out = append(out, d)
	}
	return out
}

func (w *world) endSession(d *deviceConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.sessions[d.id], d)
	if len(w.sessions[d.id]) == 0 {
		delete(w.sessions, d.id)
	}
}

// disconnect closes connections. AWS does so within minutes of a status change,
// the simulator at once.
func (w *world) disconnect(conns []*deviceConn, why string) {
	for _, d := range conns {
		w.note("session.closed", why, "certificateId", d.id, "clientId", d.clientID)
		d.blame(reasonServer)
		d.Conn.Close()
	}
}
