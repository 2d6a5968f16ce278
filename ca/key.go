package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"math/bits"
	"sync"
)

// CheckKey reports why the public key pub must not be certified: a kind or
// size that has no Algorithm, or an RSA key that can be factored cheaply. It
// is the check of step 2; Prepare repeats it.
func CheckKey(pub crypto.PublicKey) error {
	if _, err := AlgorithmOf(pub); err != nil {
		return err
	}
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		// SP 800-56A, Section 5.6.2.3.4: in range and on the curve.
		if _, err := pub.ECDH(); err != nil {
			return errors.New("the elliptic curve point is not a valid public key")
		}
		return nil
	case *rsa.PublicKey:
		return checkRSA(pub)
	}
	return fmt.Errorf("key type %T is not supported", pub)
}

func checkRSA(pub *rsa.PublicKey) error {
	n := pub.N
	// SP 800-56B, Section 6.4.2.1: odd, at least 65537.
	if pub.E < 65537 || pub.E%2 == 0 {
		return fmt.Errorf("RSA exponent %d is not an odd number of at least 65537", pub.E)
	}
	if n.Bit(0) == 0 {
		return errors.New("RSA modulus is even")
	}
	if p := smallFactor(n); p != 0 {
		return fmt.Errorf("RSA modulus is divisible by %d", p)
	}
	if isROCA(n) {
		return errors.New("RSA key has the ROCA fingerprint (CVE-2017-15361): it was made by a flawed library and can be factored")
	}
	if closePrimes(n) {
		return errors.New("the primes of the RSA key are so close that it can be factored (Fermat)")
	}
	return nil
}

// smallPrimes returns the odd primes below 752 and their product, which cover
// the keys of generators that skip trial division.
var smallPrimes = sync.OnceValues(func() ([]uint64, *big.Int) {
	var primes []uint64
	product := big.NewInt(1)
	for p := int64(3); p < 752; p += 2 {
		if n := big.NewInt(p); n.ProbablyPrime(0) {
			primes = append(primes, uint64(p))
			product.Mul(product, n)
		}
	}
	return primes, product
})

// smallFactor returns the least odd prime below 752 that divides n, or 0.
func smallFactor(n *big.Int) uint64 {
	primes, product := smallPrimes()
	// One long division; what is left has 1000 bits.
	rest := new(big.Int).Mod(n, product)
	for _, p := range primes {
		if remainder(rest, p) == 0 {
			return p
		}
	}
	return 0
}

// remainder returns n modulo m for a small m, without the allocations of
// big.Int.
func remainder(n *big.Int, m uint64) uint64 {
	words := n.Bits()
	var r uint
	for i := len(words) - 1; i >= 0; i-- {
		_, r = bits.Div(r, uint(words[i]), uint(m))
	}
	return uint64(r)
}

// rocaMarks holds, for each odd prime up to 167, the powers of 65537 modulo it.
var rocaMarks = sync.OnceValue(func() map[uint64][]bool {
	marks := make(map[uint64][]bool)
	primes, _ := smallPrimes()
	for _, p := range primes {
		if p > 167 {
			break
		}
		powers := make([]bool, p)
		for x := uint64(1); !powers[x]; x = x * 65537 % p {
			powers[x] = true
		}
		marks[p] = powers
	}
	return marks
})

// isROCA reports whether n is a power of 65537 modulo every small prime, as
// the moduli of CVE-2017-15361 are. A good key is so with a chance of 2^-28.
func isROCA(n *big.Int) bool {
	_, product := smallPrimes()
	rest := new(big.Int).Mod(n, product)
	for p, powers := range rocaMarks() {
		if !powers[remainder(rest, p)] {
			return false
		}
	}
	return true
}

// fermatRounds is how far closePrimes looks. Boulder does the same 100.
const fermatRounds = 100

// closePrimes reports whether n is found to be (a+b)(a-b) within fermatRounds
// rounds of Fermat's method.
func closePrimes(n *big.Int) bool {
	a := new(big.Int).Sqrt(n)
	square := new(big.Int).Mul(a, a)
	if square.Cmp(n) == 0 {
		return true
	}
	// a is now the least number whose square exceeds n.
	step := new(big.Int).Lsh(a, 1)
	step.Add(step, one) // (a+1)^2 - a^2
	rest := square.Add(square, step)
	rest.Sub(rest, n)
	root := new(big.Int)
	for range fermatRounds {
		if mayBeSquare(rest) {
			root.Sqrt(rest)
			if root.Mul(root, root).Cmp(rest) == 0 {
				return true
			}
		}
		step.Add(step, two)
		rest.Add(rest, step)
	}
	return false
}

var one, two = big.NewInt(1), big.NewInt(2)

// squareModuli and squareMarks tell which remainders a square can leave.
var squareModuli = [...]uint64{3, 5, 7, 11, 13, 17}

const squareModulus = 3 * 5 * 7 * 11 * 13 * 17

var squareMarks = sync.OnceValue(func() (marks [len(squareModuli)][17]bool) {
	for i, m := range squareModuli {
		for x := range m {
			marks[i][x*x%m] = true
		}
	}
	return marks
})

// mayBeSquare rules out all but one in a hundred of the numbers that are no
// squares. A square has an even number of trailing zero bits and above them is
// 1 modulo 8, and it leaves certain remainders only.
func mayBeSquare(n *big.Int) bool {
	zeros := int(n.TrailingZeroBits())
	if zeros%2 == 1 || n.Bit(zeros+1) != 0 || n.Bit(zeros+2) != 0 {
		return false
	}
	r, marks := remainder(n, squareModulus), squareMarks()
	for i, m := range squareModuli {
		if !marks[i][r%m] {
			return false
		}
	}
	return true
}
