package management

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// Backuper makes a backup of everything the broker must not lose.
type Backuper interface {
	// Backup writes it to w while the broker goes on. Its error is ErrBusy while another one
	// is being made. Nothing was written when it returns before the first call of w.
	Backup(ctx context.Context, w io.Writer) error
}

// ErrBusy is why something that is under way is not begun a second time.
var ErrBusy = errors.New("it is under way already")

const (
	// BackupPath is where a backup is asked for, with POST.
	BackupPath = "/api/backup"
	// backupPatience is how long a client may take over one write before it is given up: a
	// backup that does not go on keeps the broker from giving room back to the disk.
	backupPatience = time.Minute
)

// backup answers with a backup, as it is made. When it fails on the way the connection is
// cut, so that no client takes what it has for the whole.
func (c *call) backup() error {
	out := &backupBody{w: c.w, control: http.NewResponseController(c.w)}
	err := c.Backuper.Backup(c.r.Context(), out)
	switch {
	case err == nil:
		return nil
	case out.begun:
		c.Log.Error().Err(err).Msg("backup given up")
		// What was written of it says why at its end, if the client still takes that.
		_ = out.control.Flush()
		panic(http.ErrAbortHandler)
	case errors.Is(err, ErrBusy):
		return &Refusal{http.StatusConflict, "conflict", err.Error()}
	}
	return err
}

// backupBody is the body of the answer.
type backupBody struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

// Write implements io.Writer. Every write has its own deadline.
func (b *backupBody) Write(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		b.w.Header().Set("Content-Type", "application/octet-stream")
	}
	if err := b.control.SetWriteDeadline(time.Now().Add(backupPatience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return b.w.Write(p)
}
