// Package systemd tells the service manager how the process is doing, as
// sd_notify(3) says. Without a service manager it does nothing.
package systemd

import (
	"fmt"

	"github.com/coreos/go-systemd/v22/daemon"
)

// The states that the unit's Type=notify knows.
const (
	Ready    = daemon.SdNotifyReady
	Stopping = daemon.SdNotifyStopping
)

// Notify tells the service manager the state. Where the process was not
// started by one that listens, it does nothing and returns nil.
func Notify(state string) error {
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("systemd: notify: %w", err)
	}
	return nil
}
