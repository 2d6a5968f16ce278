package est

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"mintmark/internal/cms"
)

// PendingError is a 202: the request waits for an approval, and the same
// request made after the delay gets the certificate (RFC 7030, Section 4.2.3).
type PendingError struct{ RetryAfter time.Duration }

func (e *PendingError) Error() string {
	return fmt.Sprintf("request is pending: repeat it after %v", e.RetryAfter)
}

// Status is the answer for who must not import this package: its status, the server's
// explanation, and when it wants to be asked again.
func (e *PendingError) Status() (code int, text string, retry time.Duration) {
	return http.StatusAccepted, "", e.RetryAfter
}

// StatusError is an answer that refuses the request.
type StatusError struct {
	Code       int
	Text       string        // the server's explanation, at most 4 KiB
	Challenge  string        // WWW-Authenticate of a 401; several are joined by ", "
	RetryAfter time.Duration // zero if the server did not say
}

// Status is that of PendingError.
func (e *StatusError) Status() (code int, text string, retry time.Duration) {
	return e.Code, e.Text, e.RetryAfter
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("server answered %d %s", e.Code, http.StatusText(e.Code))
	if e.Text != "" {
		text += fmt.Sprintf(": %q", e.Text)
	}
	return text
}

// answer is what a server sent, whole.
type answer struct {
	status  int
	header  http.Header
	content []byte
	server  *x509.Certificate // as which the server authenticated
}

// receive reads the answer that an HTTP client returned.
func receive(r *http.Response, err error) (*answer, error) {
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	content, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading answer: %w", err)
	}
	if len(content) > maxAnswer {
		return nil, fmt.Errorf("server answered with more than %d bytes", maxAnswer)
	}
	a := &answer{status: r.StatusCode, header: r.Header, content: content}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		a.server = r.TLS.PeerCertificates[0]
	}
	return a, nil
}

// check returns nil for an answer that holds what was asked for.
func (a *answer) check() error {
	retry := parseRetryAfter(a.header.Get("Retry-After"), time.Now())
	switch a.status {
	case http.StatusOK:
		return nil
	case http.StatusAccepted:
		// RFC 7030, Section 4.2.3: a 202 must say when to come back.
		if retry == 0 {
			return errors.New("server answered 202 without a usable Retry-After")
		}
		return &PendingError{RetryAfter: retry}
	}
	e := &StatusError{Code: a.status, Challenge: strings.Join(a.header.Values("WWW-Authenticate"), ", "), RetryAfter: retry}
	// RFC 7030, Section 4.3.2: an error of fullcmc is in CMS, and no text.
	if mediaType, _ := a.mediaType(); mediaType != mediaTypeCACerts {
		e.Text = strings.TrimSpace(string(a.content[:min(len(a.content), 4<<10)]))
	}
	return e
}

// mediaType is the Content-Type in lower case with its parameters; empty for
// one that cannot be read.
func (a *answer) mediaType() (string, map[string]string) {
	mediaType, parameters, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil {
		return "", nil
	}
	return mediaType, parameters
}

// der decodes a body that must be of one media type, and of the smime-type, if
// it names one and one is wanted.
func (a *answer) der(mediaType, smime string) ([]byte, error) {
	got, parameters := a.mediaType()
	if got != mediaType {
		return nil, fmt.Errorf("server answered with Content-Type %q, not %s", a.header.Get("Content-Type"), mediaType)
	}
	if named := parameters["smime-type"]; smime != "" && named != "" && !strings.EqualFold(named, smime) {
		return nil, fmt.Errorf("server answered with smime-type %q, not %s", named, smime)
	}
	// RFC 8951, Section 3: base64, whatever Content-Transfer-Encoding says.
	der, err := decodeBase64(a.content)
	if err != nil {
		return nil, fmt.Errorf("decoding answer: %w", err)
	}
	return der, nil
}

// certificates returns those of a certs-only body.
func (a *answer) certificates() ([]*x509.Certificate, error) {
	der, err := a.der(mediaTypeCACerts, "certs-only")
	if err != nil {
		return nil, err
	}
	return cms.ParseCertsOnly(der)
}

// asksBasic reports whether a 401 offers HTTP Basic among its challenges. RFC
// 9110, Section 11.6.1: there may be several, in one field or in more, and a
// scheme ends at a blank.
func asksBasic(header http.Header) bool {
	for _, value := range header.Values("WWW-Authenticate") {
		for part := range strings.SplitSeq(value, ",") {
			scheme, _, _ := strings.Cut(strings.TrimSpace(part), " ")
			if strings.EqualFold(scheme, "Basic") {
				return true
			}
		}
	}
	return false
}

// parseRetryAfter reads a delay in seconds or a date: RFC 9110, Section 10.2.3.
func parseRetryAfter(value string, now time.Time) time.Duration {
	// A delay beyond a year is a mistake, and would overflow.
	const year = 365 * 24 * time.Hour
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(max(0, min(seconds, int(year/time.Second)))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(0, at.Sub(now)), year)
	}
	return 0
}
