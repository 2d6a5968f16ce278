package hook

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// crlAge is how long a list is used before it is fetched again, even if it
	// says that it is good for longer.
	crlAge = 5 * time.Minute
	// maxCRL bounds a list, in bytes: some 400,000 revoked certificates.
	maxCRL = 16 << 20
)

// crlCache holds lists, by URL, that a CA above a client's certificate has signed.
// It holds no decisions.
type crlCache struct {
	mu    sync.Mutex
	lists map[string]cachedCRL
}

type cachedCRL struct {
	list  *x509.RevocationList
	until time.Time
}

// fetchAll gets all lists, at the same time, and what kept it from getting some.
// issuers are the CAs whose lists are worth keeping.
func (c *Callback) fetchAll(ctx context.Context, issuers []*x509.Certificate, now time.Time) (lists []*x509.RevocationList, failed error) {
	found, errs := make([]*x509.RevocationList, len(c.CRLs)), make([]error, len(c.CRLs))
	var wg sync.WaitGroup
	for i, url := range c.CRLs {
		wg.Go(func() {
			if found[i], errs[i] = c.list(ctx, url, issuers, now); errs[i] != nil {
				errs[i] = fmt.Errorf("fetching revocation list %s: %w", url, errs[i])
			}
		})
	}
	wg.Wait()
	return slices.DeleteFunc(found, func(l *x509.RevocationList) bool { return l == nil }), errors.Join(errs...)
}

// list returns the list at a URL, which is in force.
func (c *Callback) list(ctx context.Context, url string, issuers []*x509.Certificate, now time.Time) (*x509.RevocationList, error) {
	c.lists.mu.Lock()
	cached, ok := c.lists.lists[url]
	c.lists.mu.Unlock()
	// An entry from the future was made before the clock was set back.
	if left := cached.until.Sub(now); ok && left > 0 && left <= crlAge {
		return cached.list, nil
	}
	body, err := c.fetch(ctx, http.MethodGet, url, "", nil, maxCRL)
	if err != nil {
		return nil, err
	}
	list, err := parseCRL(body)
	if err != nil {
		return nil, err
	}
	if err := inForce(list.ThisUpdate, list.NextUpdate, now); err != nil {
		return nil, err
	}
	// What strangers have signed is not kept, and each use verifies again who has.
	if slices.ContainsFunc(issuers, func(ca *x509.Certificate) bool { return signs(ca, list) }) {
		until := now.Add(crlAge)
		if list.NextUpdate.Before(until) {
			until = list.NextUpdate
		}
		c.lists.mu.Lock()
		if c.lists.lists == nil {
			c.lists.lists = make(map[string]cachedCRL)
		}
		c.lists.lists[url] = cachedCRL{list, until}
		c.lists.mu.Unlock()
	}
	return list, nil
}

// oidDeltaCRL marks a list of changes (RFC 5280, Section 5.2.4).
var oidDeltaCRL = asn1.ObjectIdentifier{2, 5, 29, 27}

// parseCRL reads a complete list, in DER or PEM. One that covers a part only, or
// that has extensions which must be understood (RFC 5280, Section 5.2), is
// refused: a certificate that is not on it could be revoked all the same.
func parseCRL(data []byte) (*x509.RevocationList, error) {
	if block, _ := pem.Decode(data); block != nil && block.Type == "X509 CRL" {
		data = block.Bytes
	}
	list, err := x509.ParseRevocationList(data)
	if err != nil {
		return nil, fmt.Errorf("parsing it: %w", err)
	}
	for _, extension := range list.Extensions {
		if extension.Critical || extension.Id.Equal(oidDeltaCRL) {
			return nil, fmt.Errorf("it has the critical extension %s: only complete lists of one issuer are understood", extension.Id)
		}
	}
	for _, entry := range list.RevokedCertificateEntries {
		for _, extension := range entry.Extensions {
			if extension.Critical {
				return nil, fmt.Errorf("an entry of it has the critical extension %s", extension.Id)
			}
		}
	}
	return list, nil
}

// inForce checks the times of a list or of an answer.
func inForce(thisUpdate, nextUpdate, now time.Time) error {
	switch {
	case thisUpdate.After(now.Add(clockSkew)):
		return fmt.Errorf("it is from %s, which is in the future", thisUpdate.Format(time.RFC3339))
	case nextUpdate.IsZero():
		return errors.New("it does not say until when it is good")
	case !now.Before(nextUpdate):
		return fmt.Errorf("it was to be replaced at %s", nextUpdate.Format(time.RFC3339))
	}
	return nil
}

func signs(issuer *x509.Certificate, list *x509.RevocationList) bool {
	return bytes.Equal(issuer.RawSubject, list.RawIssuer) && list.CheckSignatureFrom(issuer) == nil
}

// listed looks for a certificate on the lists of its issuer. covered is false if
// there are none.
func listed(lists []*x509.RevocationList, c, issuer *x509.Certificate, own string) (covered bool, err error) {
	for _, list := range lists {
		if !signs(issuer, list) {
			continue
		}
		covered = true
		for _, entry := range list.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(c.SerialNumber) == 0 {
				return true, refusal(IsRevoked, own, "certificate %s of %q is on the revocation list of %q, since %s",
					hexSerial(c), cut(c.Subject.String()), cut(issuer.Subject.String()), entry.RevocationTime.Format(time.RFC3339))
			}
		}
	}
	return covered, nil
}

// fetch makes one HTTP request and returns a bounded answer. Redirects are not
// followed: the configuration says where a list is.
func (c *Callback) fetch(ctx context.Context, method, url, contentType string, body []byte, limit int64) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := c.Client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %d", response.StatusCode)
	}
	answer, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(answer)) > limit:
		return nil, fmt.Errorf("the server answered with more than %d bytes", limit)
	}
	return answer, nil
}
