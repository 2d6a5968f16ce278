// Package station is the test PC of a line. It takes the certification request of a
// device, gets its certificate over EST under the credential of a work order, puts
// certificate and chain into the device, and has the device show that it holds them.
//
// What it does to a device is on disk before each step (Queue), so that whatever
// ends the process is gone on from: no certificate is lost, and none is asked for twice.
// While the server is away devices leave their requests and go; they get their
// certificates when they are back. One line for each device goes to the Record.
//
// Adapters speak to devices: Serial by a line protocol, Commands by programs, Files by
// two folders. The package knows no command line and no database.
package station
