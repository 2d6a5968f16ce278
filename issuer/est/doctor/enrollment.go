package doctor

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// submission is a certification request on its way.
type submission struct {
	op       string
	path     string // in place of the operation's under the label, if set
	cred     *credential
	csr      csr
	header   []string
	body     func(der []byte) []byte // of the request; base64 in one line if nil
	edit     func(*tls.Config)
	unlinked bool // without challengePassword, even where the server demands it
}

// submit sends a certification request, linked to its connection where the
// server demands that (RFC 7030, Section 3.5).
func (p *probe) submit(ctx context.Context, s submission) (*answer, error) {
	linked := (p.Linked || p.linking) && !s.unlinked && s.csr.challenge == ""
	edit := s.edit
	if linked && edit == nil {
		edit = func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 } // all servers that link know tls-unique
	}
	var certificate *tls.Certificate
	if s.cred != nil {
		certificate = s.cred.certificate
	}
	c, err := p.dial(ctx, certificate, edit)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if linked {
		if s.csr.challenge, err = binding(c.ConnectionState()); err != nil {
			return nil, err
		}
	}
	der, err := s.csr.der()
	if err != nil {
		return nil, err
	}
	body := encode(der)
	if s.body != nil {
		body = s.body(der)
	}
	r := p.post(s.op, s.cred, body, s.header...)
	if s.path != "" {
		r.path = s.path
	}
	return p.exchange(c, r)
}

// binding is the challengePassword of a connection: tls-unique, and for TLS 1.3,
// which has none, the exporter of RFC 9266.
func binding(state tls.ConnectionState) (string, error) {
	if state.Version < tls.VersionTLS13 {
		if len(state.TLSUnique) == 0 {
			return "", errors.New("this connection has no tls-unique")
		}
		return base64.StdEncoding.EncodeToString(state.TLSUnique), nil
	}
	value, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		return "", fmt.Errorf("deriving tls-exporter: %w", err)
	}
	return base64.StdEncoding.EncodeToString(value), nil
}

// accepted reports a request that was taken: issued, or queued for a person.
func accepted(status int) bool { return status == http.StatusOK || status == http.StatusAccepted }

// enrollment is a request of ours and its answer.
type enrollment struct {
	name        string
	key         crypto.Signer
	submission  submission
	answer      *answer
	list        []*x509.Certificate // of a success, as in the answer
	certificate *x509.Certificate   // the first of them
}

func (e *enrollment) read() error {
	if e.answer.status != http.StatusOK {
		return fmt.Errorf("simpleenroll with %s answered %v", e.submission.cred.kind, e.answer)
	}
	var err error
	if e.list, err = certificates(e.answer.body); err != nil {
		return fmt.Errorf("the answer of simpleenroll: %w", err)
	}
	e.certificate = e.list[0]
	return nil
}

// fresh prepares the enrollment of a device: that of the credential, or one of
// its own name.
func (p *probe) fresh(ctx context.Context, cred *credential) (*enrollment, error) {
	key, err := p.newKey(ctx)
	if err != nil {
		return nil, err
	}
	name := cred.device
	if name == "" {
		name = p.name()
	}
	e := &enrollment{name: name, key: key}
	e.submission = submission{op: "simpleenroll", cred: cred, csr: csr{key: key, subject: commonName(name)}}
	return e, nil
}

// opening is the first enrollment of a run. It finds out whether the server
// demands linking, and whether requests wait for a person.
func (p *probe) opening(ctx context.Context) (*enrollment, error) {
	return p.opened.get(func() (*enrollment, error) {
		cred, err := p.mayEnroll()
		if err != nil {
			return nil, err
		}
		e, err := p.fresh(ctx, cred)
		if err != nil {
			return nil, err
		}
		if e.answer, err = p.submit(ctx, e.submission); err != nil {
			return nil, err
		}
		if e.answer.status == http.StatusBadRequest || e.answer.status == http.StatusForbidden {
			p.linking = true
			again, err := p.submit(ctx, e.submission)
			if p.linking = err == nil && accepted(again.status); p.linking {
				e.answer = again
			}
		}
		return e, nil
	})
}

// first is the first certificate of a run, after an approval if it needs one.
func (p *probe) first(ctx context.Context) (*enrollment, error) {
	return p.enrolled.get(func() (*enrollment, error) {
		e, err := p.opening(ctx)
		if err != nil {
			return nil, err
		}
		if e.answer.status == http.StatusAccepted {
			d, err := p.decision(ctx)
			if err != nil {
				return nil, err
			}
			copied := *e
			copied.answer, e = d.approved, &copied
		}
		return e, e.read()
	})
}

// again returns a submission like that of the first certificate, which repeats
// its name and key.
func (p *probe) again(ctx context.Context) (submission, error) {
	e, err := p.opening(ctx)
	if err != nil {
		return submission{}, err
	}
	if !accepted(e.answer.status) {
		return submission{}, fmt.Errorf("simpleenroll with %s answered %v", e.submission.cred.kind, e.answer)
	}
	return e.submission, nil
}

// device is a certificate of the server's that renews: what the user gave, or what
// the doctor enrolled.
func (p *probe) device(ctx context.Context) (*tls.Certificate, error) {
	if p.Device != nil {
		if !p.Enroll {
			return nil, errNotAsked("needs certificates to be issued (--enroll)")
		}
		return p.Device, nil
	}
	e, err := p.first(ctx)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{e.certificate.Raw}, PrivateKey: e.key, Leaf: e.certificate}, nil
}

// decision is what became of requests that waited for a person.
type decision struct {
	first              *answer // the 202
	approved, rejected *answer // the last answers to each
	dropped            *answer // to the approved one without the label; nil without a label
}

// decision asks the operator to approve one request and to reject another, and
// repeats both until they are decided (RFC 7030, Section 4.2.3).
func (p *probe) decision(ctx context.Context) (*decision, error) {
	return p.decided.get(func() (*decision, error) {
		yes, err := p.opening(ctx)
		if err != nil {
			return nil, err
		}
		if yes.answer.status != http.StatusAccepted {
			return nil, errNotAsked("requests do not wait for an approval here")
		}
		if p.Waiting == nil || !p.manyNames() && yes.submission.cred.device == "" {
			return nil, errNotAsked("needs somebody who approves one request and rejects another (--wait)")
		}
		d := &decision{first: yes.answer}
		no, err := p.fresh(ctx, yes.submission.cred)
		if err != nil {
			return nil, err
		}
		if no.answer, err = p.submit(ctx, no.submission); err != nil {
			return nil, err
		}
		p.Waiting(yes.name, no.name)
		// The rejected one first: when it is, the other should have been approved.
		if d.rejected, err = p.poll(ctx, no); err != nil {
			return nil, err
		}
		if p.Label != "" {
			s := yes.submission
			s.path = p.under("", s.op)
			if d.dropped, err = p.submit(ctx, s); err != nil {
				return nil, err
			}
		}
		d.approved, err = p.poll(ctx, yes)
		return d, err
	})
}

// poll repeats a request until its answer is no longer a 202, or the time to wait
// is over.
func (p *probe) poll(ctx context.Context, e *enrollment) (*answer, error) {
	a, waited := e.answer, time.Duration(0)
	for a.status == http.StatusAccepted {
		seconds, err := strconv.Atoi(a.get("Retry-After"))
		delay := time.Duration(min(max(1, seconds), 3600)) * time.Second
		if err != nil {
			delay = 5 * time.Second
		}
		if waited += delay; waited > p.Wait {
			return a, nil
		}
		if err := p.sleep(ctx, delay); err != nil {
			return nil, err
		}
		if a, err = p.submit(ctx, e.submission); err != nil {
			return nil, err
		}
	}
	return a, nil
}
