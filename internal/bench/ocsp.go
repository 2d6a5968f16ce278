package bench

import (
	"bufio"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"
)

// presigned is the run of OCSP answers that are kept signed.
const presigned = "ocsp_presigned"

// presigned asks for the certificates of the devices by GET, in closed loops over connections
// that stay open, and says how many answers the server's core gave a second.
func (f *fleet) presigned(ctx context.Context, t *target, clients int, duration time.Duration) (Figure, error) {
	requests, err := f.questions(ctx, t)
	if err != nil {
		return Figure{}, err
	}
	used, err := t.usage(ctx)
	if err != nil {
		return Figure{}, err
	}
	load, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	var (
		wait  sync.WaitGroup
		mu    sync.Mutex
		count int
		errs  []error
	)
	start := time.Now()
	for range clients {
		wait.Go(func() {
			n, err := askLoop(load, t.http, requests)
			mu.Lock()
			defer mu.Unlock()
			count += n
			errs = append(errs, err)
		})
	}
	wait.Wait()
	elapsed := time.Since(start)
	// Cut off, it is no measurement.
	if err := cmp.Or(errors.Join(errs...), ctx.Err()); err != nil {
		return Figure{}, err
	}
	if count == 0 {
		return Figure{}, errNothing
	}
	after, err := t.usage(ctx)
	if err != nil {
		return Figure{}, err
	}
	return Figure{Name: presigned, Value: float64(count) / elapsed.Seconds(), Unit: "answers/s", CPUms: millis((after.cpu - used.cpu) / time.Duration(count))}, nil
}

// questions are requests for the certificates of all devices, as they go over the wire. Each has
// been asked once: its answer is signed and kept.
func (f *fleet) questions(ctx context.Context, t *target) ([]string, error) {
	der, err := fetch(ctx, "http://"+t.http+"/ca/issuing.crt")
	if err != nil {
		return nil, err
	}
	issuing, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, d := range f.devices {
		request, err := ocsp.CreateRequest(d.tls.Certificates[0].Leaf, issuing, nil)
		if err != nil {
			return nil, err
		}
		path := "/ocsp/issuing/" + url.PathEscape(base64.StdEncoding.EncodeToString(request))
		answer, err := fetch(ctx, "http://"+t.http+path)
		if err != nil {
			return nil, err
		}
		if parsed, err := ocsp.ParseResponseForCert(answer, d.tls.Certificates[0].Leaf, issuing); err != nil || parsed.Status != ocsp.Good {
			return nil, fmt.Errorf("asking for the certificate of %s: %+v, %v", d.name, parsed, err)
		}
		list = append(list, "GET "+path+" HTTP/1.1\r\nHost: "+t.http+"\r\n\r\n")
	}
	return list, nil
}

// askLoop sends requests over one connection until ctx ends, and returns how many were
// answered. A failure of OCSP is shorter than any signature.
func askLoop(ctx context.Context, address string, requests []string) (int, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	n := 0
	for ; ctx.Err() == nil; n++ {
		if _, err := io.WriteString(conn, requests[n%len(requests)]); err != nil {
			return n, err
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			return n, err
		}
		size, err := io.Copy(io.Discard, answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK || size < 200 {
			return n, fmt.Errorf("status %d, %d bytes, %v", answer.StatusCode, size, err)
		}
	}
	return n, nil
}
