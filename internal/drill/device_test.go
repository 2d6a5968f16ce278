package drill

import (
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"time"
)

// class is a habit that devices have. Each class is one row of the table.
type class struct {
	name  string
	share int // of 100,000; 0 for all others
	// flavours of cacerts that its devices ask for, in turn.
	flavours []string
	skew     time.Duration // of its clock
	lost     bool          // its clock stands in 1970
	away     bool          // not online between its first day and a year later
	stock    bool          // in a warehouse until it is unpacked
	pinned   bool          // its trust store cannot be changed
}

var classes = []class{
	{name: "online", flavours: []string{"full", "full", "full", "both", "new"}},
	{name: "takes one root", share: 100, flavours: []string{"active"}},
	{name: "clock 20 h behind", share: 1000, flavours: []string{"full"}, skew: -20 * time.Hour},
	{name: "clock 300 d ahead", share: 1000, flavours: []string{"full", "both", "new"}, skew: 300 * day},
	{name: "offline for a year", share: 200, flavours: []string{"full", "both"}, away: true},
	{name: "never online", share: 500, flavours: []string{"full"}, stock: true},
	{name: "pinned to the old root", share: 100, flavours: []string{"old"}, pinned: true},
	{name: "clock in 1970", share: 100, flavours: []string{"full"}, lost: true},
}

var flavours = []string{"full", "both", "active", "new", "old"}

// device is one of the fleet. What it trusts and shows is shared with those who have the same.
type device struct {
	name   string
	class  *class
	cloud  string // place of its cloud: line-a, line-b, plant
	flavor string
	key    *ecdsa.PrivateKey
	leaf   *x509.Certificate
	above  []*x509.Certificate // what it sends with its certificate, root last
	store  *store
	period time.Duration
	next   time.Time // when it comes online
	renew  time.Time // when it renews
	known  bool      // it was at its cloud
	// replacedBy is the device that took its place; empty for none.
	replacedBy string
	unpacked   bool
	back       bool // of one that was away
}

func (d *device) label() string { return d.cloud + "-" + d.flavor }

// chain is what the device presents.
func (d *device) chain() []*x509.Certificate {
	return append([]*x509.Certificate{d.leaf}, d.above...)
}

// says is the time that the device goes by.
func (d *device) says(now time.Time) time.Time {
	if d.class.lost {
		return time.Unix(0, 0)
	}
	return now.Add(d.class.skew)
}

// kind is what devices of one verdict have in common.
func (d *device) kind() string {
	root := ""
	if len(d.above) > 0 {
		root = fmt.Sprintf("%x", d.above[0].SerialNumber)
	}
	return fmt.Sprintf("%s/%s/%s/%s/%s", d.class.name, d.cloud, d.flavor, d.store.id, root)
}

var places = []string{"line-a", "line-b", "plant"}

// muster makes devices, without keys and certificates: of each class at least three, one at
// each place.
func muster(n int, random *rand.Rand) []*device {
	var fleet []*device
	add := func(c *class, count int) {
		for i := range count {
			d := &device{
				name: fmt.Sprintf("d%06d", len(fleet)), class: c, cloud: places[i%len(places)],
				flavor: c.flavours[(i/len(places))%len(c.flavours)], period: day * time.Duration(1+random.IntN(28)),
			}
			fleet = append(fleet, d)
		}
	}
	for i := range classes[1:] {
		c := &classes[i+1]
		add(c, max(len(places), n*c.share/100_000))
	}
	add(&classes[0], n-len(fleet))
	return fleet
}
