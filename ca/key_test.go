package ca

import (
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"strings"
	"testing"

	"mintmark/internal/pkitest"
)

func TestParseAlgorithm(t *testing.T) {
	for _, a := range algorithms {
		if got, err := ParseAlgorithm(strings.ToLower(string(a))); err != nil || got != a {
			t.Errorf("ParseAlgorithm(%q) = %q, %v", a, got, err)
		}
		if got, err := AlgorithmOf(pkitest.Key(t, string(a)).Public()); err != nil || got != a {
			t.Errorf("AlgorithmOf a %s key = %q, %v", a, got, err)
		}
		if err := CheckKey(pkitest.Key(t, string(a)).Public()); err != nil {
			t.Errorf("CheckKey of a good %s key: %v", a, err)
		}
	}
	if _, err := ParseAlgorithm("RSA-1024"); err == nil {
		t.Error("RSA-1024 is known")
	}
}

func prime(t *testing.T, bits int) *big.Int {
	t.Helper()
	p, err := rand.Prime(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// nextPrime returns the least prime above n+gap.
func nextPrime(n *big.Int, gap int64) *big.Int {
	p := new(big.Int).Add(n, big.NewInt(gap))
	p.SetBit(p, 0, 1)
	for p.Cmp(n) <= 0 || !p.ProbablyPrime(10) {
		p.Add(p, two)
	}
	return p
}

func TestWeakRSA(t *testing.T) {
	p := prime(t, 1024)
	close := new(big.Int).Mul(p, nextPrime(p, 1<<20))
	square := new(big.Int).Mul(p, p)
	divisible := new(big.Int).Mul(big.NewInt(751), prime(t, 2038))
	even := new(big.Int).SetBit(pkitest.Key(t, "RSA-2048").Public().(*rsa.PublicKey).N, 0, 0)

	// 65537^a modulo the product of the primes up to 701, lifted to 2048 bits
	// without losing those remainders: the form of a ROCA modulus.
	primes, product := smallPrimes()
	roca := new(big.Int).Exp(big.NewInt(65537), big.NewInt(123456789), product)
	roca.Add(roca, new(big.Int).Mul(product, new(big.Int).Lsh(one, uint(2048-product.BitLen()))))
	for roca.Bit(0) == 0 || roca.BitLen() != 2048 {
		roca.Add(roca, product)
	}

	for _, tt := range []struct {
		name, want string
		n          *big.Int
	}{
		{"close primes", "so close", close},
		{"square", "so close", square},
		{"small factor", "divisible by 751", divisible},
		{"even", "even", even},
		{"ROCA", "ROCA", roca},
	} {
		if tt.n.BitLen() != 2048 {
			t.Fatalf("%s: the test has a modulus of %d bits", tt.name, tt.n.BitLen())
		}
		err := CheckKey(&rsa.PublicKey{N: tt.n, E: 65537})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
	if last := primes[len(primes)-1]; last != 751 {
		t.Errorf("the last small prime is %d", last)
	}
}

// The quick test must not lose a square, and remainder must agree with big.Int.
func TestMayBeSquare(t *testing.T) {
	var maybe int
	for i := range int64(20000) {
		if !mayBeSquare(big.NewInt(i * i)) {
			t.Fatalf("%d squared is not taken for a square", i)
		}
		n := new(big.Int).SetInt64(i*i + 1 + i)
		if mayBeSquare(n) {
			maybe++
		}
		x, err := rand.Int(rand.Reader, new(big.Int).Lsh(one, 300))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := remainder(x, 751), new(big.Int).Mod(x, big.NewInt(751)).Uint64(); got != want {
			t.Fatalf("%v modulo 751 is %d, got %d", x, want, got)
		}
		y := new(big.Int).Mul(x, x)
		if !mayBeSquare(y) {
			t.Fatalf("%v squared is not taken for a square", x)
		}
	}
	if maybe > 1000 {
		t.Errorf("%d of 20000 other numbers pass for squares", maybe)
	}
}
