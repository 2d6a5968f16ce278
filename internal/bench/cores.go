package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// allowedCores lists the cores that this process may run on.
func allowedCores() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("reading the processor affinity: %w", err)
	}
	var cores []int
	for i := range 1024 {
		if set.IsSet(i) {
			cores = append(cores, i)
		}
	}
	return cores, nil
}

func only(core int) *unix.CPUSet {
	var set unix.CPUSet
	set.Set(core)
	return &set
}

// startOn starts a process bound to a core: it inherits the binding of the
// thread that starts it.
func startOn(core int, cmd *exec.Cmd) error {
	return onCore(core, cmd.Start)
}

// onCore runs f on a thread bound to a core.
func onCore(core int, f func() error) error {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, binding and all.
		runtime.LockOSThread()
		if err := unix.SchedSetaffinity(0, only(core)); err != nil {
			done <- fmt.Errorf("binding to core %d: %w", core, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// bindProcess binds all threads of this process to a core.
func bindProcess(core int) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, task := range tasks {
		id, err := strconv.Atoi(task.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, only(core)); err != nil && err != unix.ESRCH {
			return fmt.Errorf("binding to core %d: %w", core, err)
		}
	}
	return nil
}

// raw measures x509.CreateCertificate on one core, for a second: the most that
// a CA in Go can reach there.
func raw(core int) (float64, error) {
	var rate float64
	err := onCore(core, func() error {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		subject, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		now := time.Now()
		parent := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "raw"}, NotBefore: now, NotAfter: now.Add(time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		der, err := x509.CreateCertificate(rand.Reader, parent, parent, key.Public(), key)
		if err != nil {
			return err
		}
		if parent, err = x509.ParseCertificate(der); err != nil {
			return err
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "device"}, NotBefore: now, NotAfter: now.Add(time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		n, start := 0, time.Now()
		for time.Since(start) < time.Second {
			if _, err := x509.CreateCertificate(rand.Reader, template, parent, subject.Public(), key); err != nil {
				return err
			}
			n++
		}
		rate = float64(n) / time.Since(start).Seconds()
		return nil
	})
	return rate, err
}
