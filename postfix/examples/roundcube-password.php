<?php

// Roundcube's plugin "password" for users of postlua's store: its config.inc.php. A new password has to pass
// PASSWORDCHECK.LUA (README.md, "PASSWORDCHECK.LUA") and is then set.
//
// The web server's user may run this one command as user postlua; a line for visudo -f /etc/sudoers.d/postlua:
//
// www-data ALL=(postlua) NOPASSWD: /opt/postlua/node_modules/.bin/node /opt/postlua/src/main.ts passwd --batch --config /etc/postlua/postlua.toml
//
// That lets whoever controls Roundcube set any user's password, as each of the plugin's drivers does. Roundcube
// shows its own words when a password is refused.

$config['password_driver'] = 'chpasswd';
$config['password_chpasswd_cmd'] = 'sudo -n -u postlua /opt/postlua/node_modules/.bin/node /opt/postlua/src/main.ts passwd --batch --config /etc/postlua/postlua.toml >/dev/null 2>&1';

// The plugin asks for the old password and compares it with the session's.
$config['password_confirm_current'] = true;

// As passwords.min_length.
$config['password_minimum_length'] = 8;
