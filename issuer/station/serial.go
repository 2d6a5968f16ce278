package station

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"mintmark/issuer/inventory"
)

// Serial is a device at a serial line that speaks the line protocol.
type Serial struct {
	SerialConfig
	open func() (port, error)
	talk *talk // nil while the port is not open
	can  []string
	data int // bytes of a transfer in one line
	// pause is between two looks for a device that has stopped to answer, and after BUSY.
	pause time.Duration
}

// maxBody bounds what is transferred at once, in bytes.
const maxBody = 64 << 10

// Bytes of a transfer in one line: what a device may ask for. 282 make 376 characters of base64, and
// with the longest words around them a line of less than 512.
const (
	leastData   = 16
	defaultData = 192
	mostData    = 282
)

// NewSerial returns the adapter of a serial line, which it opens when a device is looked
// for, and again when it was pulled out. The context of a method ends it within a moment.
func NewSerial(c SerialConfig) *Serial {
	s := &Serial{SerialConfig: c, pause: 250 * time.Millisecond}
	s.open = func() (port, error) { return openPort(c.Port, c.Baud) }
	return s
}

// Open opens the port and closes it: whether that works.
func (s *Serial) Open() error {
	p, err := s.open()
	if err != nil {
		return err
	}
	return p.Close()
}

// Scans is false: a device that stays answers again and again.
func (s *Serial) Scans() bool { return false }

// Finished has nothing to do.
func (s *Serial) Finished(string, Outcome) error { return nil }

// Close closes the port.
func (s *Serial) Close() error {
	if s.talk == nil {
		return nil
	}
	err := s.talk.port.Close()
	s.talk = nil
	return err
}

// ask sends one command. A port that fails is closed, to be opened again.
func (s *Serial) ask(ctx context.Context, words ...string) ([]string, error) {
	if s.talk == nil {
		p, err := s.open()
		if err != nil {
			return nil, err
		}
		s.talk = &talk{port: p, pause: s.pause, answer: s.Answer, tries: s.Tries, number: uint16(time.Now().UnixNano())}
	}
	got, err := s.talk.ask(ctx, words...)
	var device *deviceError
	if err != nil && !errors.As(err, &device) && !errors.Is(err, errSilent) && ctx.Err() == nil {
		err = errors.Join(fmt.Errorf("%s: %w", s.Port, err), s.Close())
	}
	return got, err
}

// Identify says HELLO once. A device that does not answer is not there.
func (s *Serial) Identify(ctx context.Context) (string, error) {
	if s.talk != nil {
		s.talk.tries = 1
		defer func() {
			if s.talk != nil {
				s.talk.tries = s.Tries
			}
		}()
	}
	device, err := s.hello(ctx)
	if errors.Is(err, errSilent) {
		return "", ErrNoDevice
	}
	return device, err
}

// hello asks who is there, and what it can.
func (s *Serial) hello(ctx context.Context) (string, error) {
	got, err := s.ask(ctx, "HELLO")
	if err != nil {
		return "", err
	}
	device := ""
	s.can, s.data = nil, defaultData
	for _, word := range got {
		switch name, value, _ := strings.Cut(word, "="); name {
		case "id":
			device = value
		case "can":
			s.can = strings.Split(value, ",")
		case "data":
			n, err := strconv.Atoi(value)
			if err != nil || n < leastData {
				return "", fmt.Errorf("the device says data=%q: it must be %d to %d bytes", value, leastData, mostData)
			}
			s.data = min(n, mostData)
		}
	}
	if err := inventory.CheckDevice(device); err != nil {
		return "", fmt.Errorf("the device calls itself %q: an identifier %w", oneLine(device), err)
	}
	return device, nil
}

// repeat does a step until it succeeds, is refused or its time is over. A device
// that was cut off or has booted in between begins the step anew; another one in its
// place ends it.
func (s *Serial) repeat(ctx context.Context, device string, step func() error) error {
	for {
		err := step()
		var refused *deviceError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &refused):
			switch refused.code {
			case codeBad, codeOffset, codeSum, codeGone:
			case codeNone:
				return ErrNoCertificate
			default:
				return err
			}
		case errors.Is(err, errDamaged), errors.Is(err, errSilent):
		case ctx.Err() != nil:
			return fmt.Errorf("the device did not do it in time: %w", ctx.Err())
		case s.talk != nil:
			return err // nothing that another try would change
		}
		// It answers again, and is still the same one.
		for {
			select {
			case <-time.After(s.pause):
			case <-ctx.Done():
				return fmt.Errorf("the device did not do it in time: %w", err)
			}
			there, helloErr := s.hello(ctx)
			if helloErr == nil && there != device {
				return fmt.Errorf("%s is there in its place", there)
			}
			if helloErr == nil {
				break
			}
			err = helloErr
		}
	}
}

// errDamaged: what has come is not what was sent.
var errDamaged = errors.New("the transfer was damaged")

// read has the device make a body ready by a command, and reads it.
func (s *Serial) read(ctx context.Context, what string, command ...string) ([]byte, error) {
	got, err := s.ask(ctx, command...)
	if err != nil {
		return nil, err
	}
	if len(got) < 2 {
		return nil, errDamaged
	}
	size, err := strconv.Atoi(got[0])
	if err != nil || size < 1 || size > maxBody {
		return nil, fmt.Errorf("the device has %q bytes of %s: 1 to %d are taken", got[0], what, maxBody)
	}
	var body []byte
	for len(body) < size {
		part, err := s.ask(ctx, "GET", what, strconv.Itoa(len(body)), strconv.Itoa(s.data))
		if err != nil {
			return nil, err
		}
		if len(part) < 2 || part[0] != strconv.Itoa(len(body)) {
			return nil, errDamaged
		}
		data, err := base64.StdEncoding.DecodeString(part[1])
		if err != nil || len(data) == 0 || len(data) > size-len(body) {
			return nil, errDamaged
		}
		body = append(body, data...)
	}
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != got[1] {
		return nil, errDamaged
	}
	return body, nil
}

// write gives the device a body, and has it put that where it belongs.
func (s *Serial) write(ctx context.Context, device, what string, body []byte) error {
	if len(body) > maxBody {
		return fmt.Errorf("%d bytes of %s: %d are allowed", len(body), what, maxBody)
	}
	for at := 0; at < len(body); {
		part := body[at:min(at+s.data, len(body))]
		got, err := s.ask(ctx, "PUT", what, strconv.Itoa(at), base64.StdEncoding.EncodeToString(part))
		if err != nil {
			return err
		}
		at += len(part)
		if len(got) < 1 || got[0] != strconv.Itoa(at) {
			return errDamaged
		}
	}
	sum := sha256.Sum256(body)
	_, err := s.ask(ctx, "SET", what, strconv.Itoa(len(body)), hex.EncodeToString(sum[:]), device)
	return err
}

// Request reads the device's certification request.
func (s *Serial) Request(ctx context.Context, device string) (der []byte, err error) {
	err = s.repeat(ctx, device, func() error {
		body, err := s.read(ctx, "csr", "CSR")
		if err == nil {
			der, err = requestIn(body)
		}
		return err
	})
	return der, err
}

// requestIn returns the DER of a certification request in PEM or DER.
func requestIn(body []byte) ([]byte, error) {
	if block, _ := pem.Decode(body); block != nil {
		if block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
			return nil, fmt.Errorf("it holds a %s and no certification request", oneLine(block.Type))
		}
		body = block.Bytes
	}
	if _, err := x509.ParseCertificateRequest(body); err != nil {
		return nil, fmt.Errorf("parsing the certification request: %w", err)
	}
	return body, nil
}

// Install gives the device trust anchors and key, if it is to get them, and then the
// certificate with its chain, which is what makes the others count.
func (s *Serial) Install(ctx context.Context, device string, c Credentials) error {
	if c.Key != nil {
		key, err := keyPEM(c.Key)
		if err != nil {
			return err
		}
		defer clear(key)
		if err := s.repeat(ctx, device, func() error { return s.write(ctx, device, "key", key) }); err != nil {
			return fmt.Errorf("the key: %w", err)
		}
	}
	if len(c.Roots) > 0 {
		if err := s.repeat(ctx, device, func() error { return s.write(ctx, device, "roots", certificatesPEM(c.Roots...)) }); err != nil {
			return fmt.Errorf("the trust anchors: %w", err)
		}
	}
	body := certificatesPEM(append([]*x509.Certificate{c.Leaf}, c.Chain...)...)
	return s.repeat(ctx, device, func() error { return s.write(ctx, device, "cert", body) })
}

// Verify asks for the certificate's SHA-256, with a signature if the device makes any.
func (s *Serial) Verify(ctx context.Context, device string, c Challenge) (Proof, error) {
	var p Proof
	err := s.repeat(ctx, device, func() error {
		p = Proof{}
		body, err := s.read(ctx, "proof", "PROOF", hex.EncodeToString(c.Nonce[:]), device)
		if err != nil {
			return err
		}
		if len(body) < len(p.Fingerprint) {
			return fmt.Errorf("the device's proof has %d bytes: the first %d are the SHA-256 of its certificate", len(body), len(p.Fingerprint))
		}
		p.Fingerprint, p.Signature = [32]byte(body), body[len(p.Fingerprint):]
		return nil
	})
	return p, err
}

// certificatesPEM encodes certificates one after the other.
func certificatesPEM(list ...*x509.Certificate) []byte {
	var text []byte
	for _, c := range list {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}

// keyPEM encodes a key; the caller clears it.
func keyPEM(key any) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key: %w", err)
	}
	defer clear(der)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
