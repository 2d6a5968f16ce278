package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// rawTime is how long the raw rate is measured before and after each load.
const rawTime = time.Second

// reference is what x509.CreateCertificate makes on one core, the most that a CA in Go
// can reach there: by the clock, and by the processor time that the thread had. Garbage is collected as Go
// does it where nobody says otherwise, so that the loop can be written anew in five lines.
type reference struct{ rate, byCPU float64 }

func mean(list ...reference) (m reference) {
	n := float64(len(list))
	for _, r := range list {
		m.rate, m.byCPU = m.rate+r.rate/n, m.byCPU+r.byCPU/n
	}
	return m
}

// figure is what others are compared with.
func (r reference) figure(name string) Figure {
	return Figure{Name: name, Value: r.rate, Unit: "certificates/s", RatioToRaw: 1, CPUms: 1000 / r.byCPU, CPURatio: 1}
}

// create makes certificates in a loop.
type create struct {
	parent, template *x509.Certificate
	key, subject     *ecdsa.PrivateKey
}

func newCreate() (*create, error) {
	c := &create{}
	for _, key := range []**ecdsa.PrivateKey{&c.key, &c.subject} {
		var err error
		if *key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
	}
	now := time.Now()
	parent := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "raw"}, NotBefore: now, NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, parent, parent, c.key.Public(), c.key)
	if err != nil {
		return nil, err
	}
	if c.parent, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	c.template = &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "device"}, NotBefore: now, NotAfter: now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	return c, nil
}

func (c *create) one() error {
	_, err := x509.CreateCertificate(rand.Reader, c.template, c.parent, c.subject.Public(), c.key)
	return err
}

// raw measures the reference on one core.
func raw(core int) (r reference, err error) {
	err = onCores([]int{core}, func() error {
		c, err := newCreate()
		if err != nil {
			return err
		}
		n, start, used := 0, time.Now(), threadTime()
		for time.Since(start) < rawTime {
			if err := c.one(); err != nil {
				return err
			}
			n++
		}
		r = reference{float64(n) / time.Since(start).Seconds(), float64(n) / (threadTime() - used).Seconds()}
		return nil
	})
	return r, err
}

// threadTime is the processor time that the thread has used.
func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// bare measures how many keys and certificates for them all cores of this process make a
// second, with nothing written and nothing checked: the least that a batch can do. byCPU is
// the rate of one core that does nothing else.
func bare(cores int, duration time.Duration) (r reference, err error) {
	c, err := newCreate()
	if err != nil {
		return r, err
	}
	used := processTime(unix.RUSAGE_SELF)
	var (
		wait  sync.WaitGroup
		mu    sync.Mutex
		total int
	)
	start := time.Now()
	for range cores {
		wait.Go(func() {
			n := 0
			for time.Since(start) < duration {
				key, kerr := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
				if kerr == nil {
					_, kerr = x509.CreateCertificate(rand.Reader, c.template, c.parent, key.Public(), c.key)
				}
				if kerr != nil {
					mu.Lock()
					err = kerr
					mu.Unlock()
					return
				}
				n++
			}
			mu.Lock()
			total += n
			mu.Unlock()
		})
	}
	wait.Wait()
	return reference{float64(total) / time.Since(start).Seconds(), float64(total) / (processTime(unix.RUSAGE_SELF) - used).Seconds()}, err
}

// processTime is the processor time that this process has used, or the children that it has
// waited for, with theirs.
func processTime(who int) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(who, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
