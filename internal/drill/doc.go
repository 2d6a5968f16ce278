// Package drill rehearses the replacement of CAs with a fleet of simulated devices, each
// with a trust store, a clock and a habit of coming online, one real server, and the clouds'
// simulators. It is made of tests alone: make drill runs them at full size, make test with
// some hundreds of devices.
//
// A device is cut off if it could connect before, by what it has and can do, and cannot in
// some state. Before that is asked, what the device would see had nothing been replaced is
// tried with its clock: whoever is wrong about the time is reported as that.
package drill
