//go:build linux && cgo && !nopkcs11

package token

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"mintmark/internal/keystore/token/wire"
	"mintmark/internal/pkitest"
)

var benchSessions = []int{1, 4, 8, 32}

// benchChunk is how many signatures are made in one way before as many are made in
// the other, so that what else the machine does falls on both.
const benchChunk = 250

// BenchmarkSign signs in the child, with as many goroutines as there are sessions and
// with two more, as the supervisor does. The ratio is to the same library with as many
// sessions in this process (bare), which does as many signatures in turn.
func BenchmarkSign(b *testing.B) {
	module, label, _ := pkitest.SoftHSM(b)
	p := testProcess(b)
	if _, err := openPIN(b.Context(), p, openRequest(module, label, 1)); err != nil {
		b.Fatal(err)
	}
	if _, err := p.generate(b.Context(), wire.Generate{ID: []byte("k"), Label: []byte("k"), Algorithm: "P-256"}); err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256([]byte("x"))
	for _, n := range benchSessions {
		for _, callers := range []int{n, n + 2} {
			b.Run(fmt.Sprintf("sessions=%d/callers=%d", n, callers), func(b *testing.B) {
				bare := bareSign(b, module, label, n, digest[:])
				if _, err := openPIN(b.Context(), p, openRequest(module, label, n)); err != nil {
					b.Fatal(err)
				}
				k, err := p.find(b.Context(), wire.Find{ID: []byte("k")})
				if err != nil {
					b.Fatal(err)
				}
				signs := func(count int) {
					share(callers, count, func(int) error {
						_, err := p.sign(b.Context(), wire.Sign{Handle: k.Handle, Mechanism: wire.ECDSA, Input: digest[:]})
						if err != nil {
							b.Error(err)
						}
						return err
					})
				}
				bare(n)
				signs(n)
				var alone, child, aloneCPU, childCPU time.Duration
				b.ReportAllocs()
				b.ResetTimer()
				for left := b.N; left > 0; left -= benchChunk {
					count := min(left, benchChunk)
					start, cpu := time.Now(), cpuTime(b, p)
					signs(count)
					child += time.Since(start)
					childCPU += cpuTime(b, p) - cpu
					b.StopTimer()
					start, cpu = time.Now(), cpuTime(b, p)
					bare(count)
					alone += time.Since(start)
					aloneCPU += cpuTime(b, p) - cpu
					b.StartTimer()
				}
				b.StopTimer()
				b.ReportMetric(float64(b.N)/child.Seconds(), "sig/s")
				b.ReportMetric(float64(b.N)/alone.Seconds(), "bare/s")
				b.ReportMetric(alone.Seconds()/child.Seconds(), "ratio")
				b.ReportMetric(float64(childCPU.Microseconds())/float64(b.N), "cpu-us/sig")
				b.ReportMetric(float64(aloneCPU.Microseconds())/float64(b.N), "bare-cpu-us/sig")
			})
		}
	}
}

// cpuTime is what this process and the child have used of the processors.
func cpuTime(b *testing.B, p *process) time.Duration {
	var self syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil {
		b.Fatal(err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	f := strings.Fields(string(stat[strings.LastIndex(string(stat), ")"):])) // proc(5): from field 2
	user, err1 := strconv.Atoi(f[12])
	system, err2 := strconv.Atoi(f[13])
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 wherever Go runs
	return time.Duration(self.Utime.Nano()+self.Stime.Nano()) + time.Duration(user+system)*tick
}

// share has n goroutines do count pieces of work.
func share(n, count int, f func(worker int) error) {
	var done atomic.Int64
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for done.Add(1) <= int64(count) {
				if f(i) != nil {
					return
				}
			}
		})
	}
	wg.Wait()
}

// bareSign opens n sessions in this process and returns what signs with them so many
// times.
func bareSign(b *testing.B, module, label string, n int, digest []byte) func(count int) {
	ctx := pkcs11.New(module)
	if err := ctx.Initialize(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		ctx.Finalize()
		ctx.Destroy()
	})
	slots, err := ctx.GetSlotList(true)
	if err != nil {
		b.Fatal(err)
	}
	for _, slot := range slots {
		info, err := ctx.GetTokenInfo(slot)
		if err != nil || info.Label != label {
			continue
		}
		var sessions []pkcs11.SessionHandle
		for i := range n {
			s, err := ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
			if err != nil {
				b.Fatal(err)
			}
			sessions = append(sessions, s)
			if i == 0 {
				if err := ctx.Login(s, pkcs11.CKU_USER, pkitest.SoftHSMPIN); err != nil {
					b.Fatal(err)
				}
			}
		}
		if err := ctx.FindObjectsInit(sessions[0], []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)}); err != nil {
			b.Fatal(err)
		}
		keys, _, err := ctx.FindObjects(sessions[0], 2)
		if err != nil || len(keys) != 1 {
			b.Fatal(keys, err)
		}
		ctx.FindObjectsFinal(sessions[0])
		mechanism := []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}
		return func(count int) {
			share(n, count, func(i int) error {
				err := ctx.SignInit(sessions[i], mechanism, keys[0])
				if err == nil {
					_, err = ctx.Sign(sessions[i], digest)
				}
				if err != nil {
					b.Error(err)
				}
				return err
			})
		}
	}
	b.Fatal("no such token")
	return nil
}

// BenchmarkStart starts a child and ends it. Of a whole server it takes longer than of
// a test: it initializes every package of the binary.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		p, err := startProcess(b.Context(), nil, slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		p.kill()
		b.StartTimer()
	}
}
