package server

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// Who a caller is comes from here: the uid of a process or the certificate of a
// TLS connection on one side, the principals of the ledger on the other. They are
// read for every request. It is one small query, administrative requests are few,
// and a principal who is removed is refused from the next request on, whichever
// server removed them.

// firstPrincipals records who may use a ledger that knows nobody yet: those that
// init was given or, without any, the owner of the state directory with every
// role. Where somebody is known, removed or not, it records nobody.
func (s *Server) firstPrincipals(ctx context.Context) error {
	known, err := s.ledger.Principals(ctx)
	if err != nil {
		return fmt.Errorf("reading the principals: %w", err)
	}
	if len(known) > 0 {
		return s.allKnown(known)
	}
	first := slices.Clone(s.options.Principals)
	if len(first) == 0 {
		owner, err := ownerOf(s.config.Dir)
		if err != nil {
			return err
		}
		first = append(first, owner)
	}
	now := s.ra.Now().UTC()
	for i, p := range first {
		if !access.ValidName(p.Name) || slices.ContainsFunc(first[:i], func(q ledger.Principal) bool { return q.Name == p.Name }) {
			return fmt.Errorf("%q cannot name a principal, or names two", p.Name)
		}
		if len(p.Key) > 0 {
			key, err := access.ParseKey(p.Key)
			if err != nil {
				return fmt.Errorf("the key of principal %q: %w", p.Name, err)
			}
			// One key has one encoding: it is compared.
			if p.Key, err = x509.MarshalPKIXPublicKey(key); err != nil {
				return fmt.Errorf("the key of principal %q: %w", p.Name, err)
			}
		}
		p.AddedAt, p.AddedBy = now, "init"
		err := s.ledger.PutPrincipal(ctx, p, now)
		if errors.Is(err, ledger.ErrTaken) {
			err = fmt.Errorf("its key or Unix user is another's already: %w", err)
		}
		if err != nil {
			return fmt.Errorf("recording the first principal %q: %w", p.Name, err)
		}
		s.log.Info("first principal", "name", p.Name, "roles", p.Roles, "unix_user", p.UnixUser)
	}
	return nil
}

// allKnown refuses to make a hierarchy where those whom init was given are not who
// is known: an earlier init may have died between two of them, and whoever is left
// alone needs nobody's signature. A ledger with a hierarchy is no place for init
// at all, which it says itself.
func (s *Server) allKnown(known []ledger.Principal) error {
	if len(s.ra.Authorities()) > 0 {
		return nil
	}
	for _, p := range s.options.Principals {
		var key []byte
		if parsed, err := access.ParseKey(p.Key); err == nil {
			if key, err = x509.MarshalPKIXPublicKey(parsed); err != nil {
				return fmt.Errorf("the key of principal %q: %w", p.Name, err)
			}
		}
		if there, ok := access.ByName(known, p.Name); !ok || !bytes.Equal(there.Key, key) {
			return fmt.Errorf("the database knows principals already, and %q is not among them with this key: if an earlier init was cut off, empty the database and begin again", p.Name)
		}
	}
	return nil
}

// ownerOf is the principal of the user that a state directory belongs to.
func ownerOf(dir string) (ledger.Principal, error) {
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return ledger.Principal{}, fmt.Errorf("state directory %s: %w", dir, err)
	}
	owner := ledger.Principal{UnixUser: unixUser(stat.Uid)}
	owner.Name = owner.UnixUser
	if !access.ValidName(owner.Name) {
		owner.Name = "uid-" + strconv.Itoa(int(stat.Uid))
	}
	for _, role := range access.Roles {
		owner.Roles = append(owner.Roles, string(role))
	}
	return owner, nil
}

// unixUser names a local user. One without a name is "#" and the uid, which no
// user is called.
func unixUser(uid uint32) string {
	text := strconv.Itoa(int(uid))
	if u, err := user.LookupId(text); err == nil && u.Username != "" && !strings.HasPrefix(u.Username, "#") {
		return u.Username
	}
	return "#" + text
}

// byUID finds the principal whom processes of a local user act as. Nobody is one
// for what they are: not root, and not the user that runs the server.
func (s *Server) byUID(ctx context.Context, uid uint32) (access.Principal, bool, error) {
	people, err := s.ledger.Principals(ctx)
	if err != nil {
		return access.Principal{}, false, fmt.Errorf("reading the principals: %w", err)
	}
	name := unixUser(uid)
	p, ok := access.ByUnixUser(people, name)
	if !ok {
		return access.Principal{}, false, &issuer.Refusal{Kind: issuer.Forbidden, Rule: "actor",
			Text: fmt.Sprintf("no principal has the Unix user %q: an officer adds one with mintmark officer add NAME --unix-user %s --role ROLE", name, name)}
	}
	return access.Of(p), true, nil
}

// peer is the principal at the other end of the socket.
func (s *Server) peer(r *http.Request) (access.Principal, bool, error) {
	uid, ok := r.Context().Value(peerKey{}).(uint32)
	if !ok {
		return access.Principal{}, false, nil
	}
	return s.byUID(r.Context(), uid)
}

// self is the principal whom this process acts as, for a command that hosts the
// API itself.
func (s *Server) self(r *http.Request) (access.Principal, bool, error) {
	return s.byUID(r.Context(), uint32(os.Getuid()))
}

// certified is the principal whose certificate a TLS connection has. It must be
// one that we have issued to a principal from the CA that is configured for that,
// or one that a rotation has put in its place or it in theirs, byte for byte, and it must be in force, as must be the principal; the roles are
// the ledger's. The handshake has proved that its key is there.
func (s *Server) certified(r *http.Request) (access.Principal, bool, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return access.Principal{}, false, nil
	}
	p, err := s.holder(r.Context(), r.TLS.PeerCertificates[0])
	if err != nil {
		return access.Principal{}, false, err
	}
	return access.Of(p), true, nil
}

func (s *Server) holder(ctx context.Context, certificate *x509.Certificate) (ledger.Principal, error) {
	refuse := func(rule, format string, args ...any) (ledger.Principal, error) {
		return ledger.Principal{}, &issuer.Refusal{Kind: issuer.Forbidden, Rule: rule, Text: fmt.Sprintf(format, args...)}
	}
	foreign := func() (ledger.Principal, error) {
		// A stranger has written it, and it goes into the log.
		return refuse("certificate-foreign", "the client certificate (%.128q) was not issued by this server: mintmark officer enroll gets one", issuer.NameText(certificate.Subject, certificate.RawSubject))
	}
	if certificate.SerialNumber.Sign() <= 0 {
		return foreign() // we number from one
	}
	serial := issuer.SerialOf(certificate.SerialNumber)
	record, err := s.ledger.Certificate(ctx, serial)
	if errors.Is(err, ledger.ErrNotFound) || err == nil && !bytes.Equal(record.DER, certificate.Raw) {
		// Under one of our keys it is an alarm, which Holder raises.
		if _, err := s.ra.Holder(ctx, certificate); err != nil && !errors.Is(err, issuer.ErrForeign) {
			return ledger.Principal{}, err
		}
		return foreign()
	}
	if err != nil {
		return ledger.Principal{}, fmt.Errorf("looking up certificate %s: %w", serial, err)
	}
	now := s.ra.Now()
	switch {
	case record.Purpose != ledger.ForOfficer:
		return refuse("certificate-purpose", "the client certificate %s is for the purpose %s, not for people", serial, record.Purpose)
	case !slices.Contains(s.ra.Related(s.config.Access.Issuer), record.Issuer):
		// What has replaced the configured CA counts as it, and what it has replaced.
		return refuse("certificate-issuer", "the client certificate %s is from CA %q, and access.issuer is another: have a new one issued (mintmark officer enroll)", serial, record.Issuer)
	case record.State != ledger.Valid:
		return refuse("certificate-revoked", "the client certificate %s is revoked", serial)
	case !record.InForce(now):
		return refuse("certificate-expired", "the client certificate %s is not in force: it is valid from %s to %s", serial,
			record.NotBefore.UTC().Format("2006-01-02 15:04"), record.NotAfter.UTC().Format("2006-01-02 15:04"))
	case s.ra.Withdrawn(record.Issuer):
		return refuse("certificate-issuer", "CA %q, which issued the client certificate %s, is revoked", record.Issuer, serial)
	}
	people, err := s.ledger.Principals(ctx)
	if err != nil {
		return ledger.Principal{}, fmt.Errorf("reading the principals: %w", err)
	}
	p, ok := access.ByName(people, certificate.Subject.CommonName)
	if !ok {
		return refuse("actor", "the client certificate %s names %q, who is no principal or was removed", serial, certificate.Subject.CommonName)
	}
	key, err := x509.MarshalPKIXPublicKey(certificate.PublicKey)
	if err != nil || !bytes.Equal(key, p.Key) {
		return refuse("principal-key", "the client certificate %s holds another key than the one recorded for %q: have a new one issued (mintmark officer enroll)", serial, p.Name)
	}
	return p, nil
}

// unprotected says in words what needs no second person, or is empty.
func (s *Server) unprotected(ctx context.Context) (string, error) {
	people, err := s.ledger.Principals(ctx)
	if err != nil {
		return "", fmt.Errorf("reading the principals: %w", err)
	}
	return access.Unprotected(people), nil
}
