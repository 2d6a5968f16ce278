package ocsp

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// Path is where the responder is served. It must not be behind a mux that
	// cleans paths: base64 has slashes in a row.
	Path = "/ocsp/"

	contentType = "application/ocsp-response"
	// mostAge is how long caches may keep an answer at most: a revocation shows
	// behind them that much later.
	mostAge = 5 * time.Minute
)

// ServeHTTP answers GET Path NAME/REQUEST and POST Path NAME (RFC 6960, Appendix
// A.1), where NAME is that of an authority. Whatever can be said by OCSP has status 200.
func (r *Responder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	rest, ok := strings.CutPrefix(req.URL.EscapedPath(), Path)
	if !ok {
		http.NotFound(w, req)
		return
	}
	name, encoded, _ := strings.Cut(rest, "/")
	var der []byte
	var err error
	cacheable := false
	switch req.Method {
	case http.MethodGet, http.MethodHead:
		cacheable = true
		der, err = decodePath(encoded)
	case http.MethodPost:
		if encoded != "" {
			http.NotFound(w, req)
			return
		}
		der, err = io.ReadAll(http.MaxBytesReader(w, req.Body, maxRequest))
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, "OCSP is asked by GET or POST", http.StatusMethodNotAllowed)
		return
	}
	var answer reply
	if err != nil {
		answer = malformedRequest.reply(outcomeMalformed)
	} else {
		answer = r.answer(req.Context(), addressOf(req), name, der)
	}
	r.metrics.answers[answer.outcome].Inc()
	r.write(w, req, answer, cacheable)
}

// decodePath reads the request of a GET: base64, of which some characters may be
// percent-encoded. Some clients have one more slash before it, and some lose the padding.
func decodePath(encoded string) ([]byte, error) {
	if len(encoded) > 3*(maxRequest/3*4+4) {
		return nil, errors.New("the request is too long")
	}
	text, err := url.PathUnescape(encoded)
	if err != nil {
		return nil, err
	}
	text = strings.TrimLeft(text, "/") // no request begins so: DER begins with M in base64
	return base64.RawStdEncoding.Strict().DecodeString(strings.TrimRight(text, "="))
}

// write writes an answer with what caches need (RFC 5019, Section 6.2). Without an
// end that is known beforehand, or by POST, nothing is to be kept.
func (r *Responder) write(w http.ResponseWriter, req *http.Request, answer reply, cacheable bool) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	k := answer.kept
	if k == nil || !cacheable || k.status == unknown {
		header.Set("Cache-Control", "no-store")
	} else {
		now := r.Now()
		age := max(0, min(k.until.Sub(now)/10, mostAge)).Truncate(time.Second)
		header.Set("Cache-Control", "max-age="+strconv.Itoa(int(age/time.Second))+", public, no-transform, must-revalidate")
		header.Set("Expires", now.Add(age).UTC().Format(http.TimeFormat))
		header.Set("Last-Modified", k.modified)
		header.Set("ETag", k.etag)
		if unchanged(req, k) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	header.Set("Content-Length", strconv.Itoa(len(answer.head)+len(answer.tail)))
	if req.Method == http.MethodHead {
		return
	}
	w.Write(answer.head)
	w.Write(answer.tail)
}

// unchanged reports whether the client has the answer already (RFC 9110, Section
// 13.2.2).
func unchanged(req *http.Request, k *kept) bool {
	if known := req.Header.Get("If-None-Match"); known != "" {
		return strings.Contains(known, k.etag)
	}
	since := req.Header.Get("If-Modified-Since")
	if since == "" {
		return false
	}
	at, err := http.ParseTime(since)
	return err == nil && !k.from.After(at)
}
