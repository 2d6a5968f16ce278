package doctor

import (
	"crypto/x509"
	"slices"

	"mintmark/dpsreg/attest"
)

// rightOrder is the order in which a device should send a chain, as indices: the
// device's certificate, its issuer, and so on. What does not belong to it comes last,
// as it came.
func rightOrder(chain []*x509.Certificate) []int {
	used := make([]bool, len(chain))
	// A certificate that comes twice is used once.
	next := func(fits func(int) bool) int {
		for i := range chain {
			if !used[i] && fits(i) {
				return i
			}
		}
		return -1
	}
	issuesOther := func(i int) bool {
		return slices.ContainsFunc(chain, func(c *x509.Certificate) bool { return !c.Equal(chain[i]) && attest.Signed(c, chain[i]) })
	}
	at := next(func(i int) bool { return !chain[i].IsCA && !issuesOther(i) })
	if at < 0 {
		at = next(func(i int) bool { return !issuesOther(i) })
	}
	if at < 0 {
		at = 0
	}
	var order []int
	for at >= 0 {
		order, used[at] = append(order, at), true
		if attest.SelfSigned(chain[at]) {
			break
		}
		last := chain[at]
		at = next(func(i int) bool { return attest.Signed(last, chain[i]) })
	}
	for i := range chain {
		if !used[i] {
			order = append(order, i)
		}
	}
	return order
}

func inOrder(order []int) bool { return slices.IsSorted(order) }

func numbers(order []int) []int {
	list := make([]int, len(order))
	for i, at := range order {
		list[i] = at + 1
	}
	return list
}

func arrange(chain []*x509.Certificate, order []int) []*x509.Certificate {
	list := make([]*x509.Certificate, len(order))
	for i, at := range order {
		list[i] = chain[at]
	}
	return list
}
