/** Dates against what C's strftime and mktime answer, in several time zones. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { breakDown, formatTime, localTime } from "../../src/lua/dates.ts";

const originalZone = process.env.TZ;
function inZone(zone: string, run: () => void): void {
  process.env.TZ = zone;
  run();
}
after(() => {
  if (originalZone === undefined) delete process.env.TZ;
  else process.env.TZ = originalZone;
});

const format = (text: string, time: number, utc = false) => formatTime(text, breakDown(time, utc)!);
const at = (year: number, month: number, day: number, hour = 12, minute = 0, second = 0) => ({
  year,
  month,
  day,
  hour,
  minute,
  second,
});

test("every letter of strftime", () => {
  inZone("UTC", () => {
    // Sunday 4 March 2007, 15:06:07
    const cases: [string, string][] = [
      ["%a %A", "Sun Sunday"],
      ["%b %h %B", "Mar Mar March"],
      ["%c", "Sun Mar  4 15:06:07 2007"],
      ["%C", "20"],
      ["%d %e", "04  4"],
      ["%D %x", "03/04/07 03/04/07"],
      ["%F", "2007-03-04"],
      ["%g %G %V", "07 2007 09"],
      ["%H %I %k %l", "15 03 15  3"],
      ["%j", "063"],
      ["%m %M", "03 06"],
      ["%n%t%%", "\n\t%"],
      ["%p %P", "PM pm"],
      ["%r", "03:06:07 PM"],
      ["%R %T %X", "15:06 15:06:07 15:06:07"],
      ["%s", "1173020767"],
      ["%S", "07"],
      ["%u %w", "7 0"],
      ["%U %W", "09 09"],
      ["%y %Y", "07 2007"],
      ["%z %Z", "+0000 UTC"],
      ["%Ey %Od", "07 04"],
      ["%-d %_d %05d %^a %#p %5Y", "4  4 00004 SUN pm 02007"],
      ["%Q %i %E %", "%Q %i %E %"],
      ["no items", "no items"],
    ];
    for (const [text, want] of cases) assert.equal(format(text, 1173020767), want, text);
    assert.equal(format("%Z", 0, true), "GMT");
  });
});

test("ISO weeks at the turn of the year", () => {
  inZone("UTC", () => {
    const cases: [number, number, number, string][] = [
      [2004, 12, 31, "2004-53"],
      [2005, 1, 1, "2004-53"],
      [2006, 1, 1, "2005-52"],
      [2007, 1, 1, "2007-01"],
      [2008, 12, 29, "2009-01"],
      [2010, 1, 3, "2009-53"],
      [2012, 12, 31, "2013-01"],
    ];
    for (const [year, month, day, want] of cases)
      assert.equal(format("%G-%V", localTime(at(year, month, day), false)!), want);
  });
});

test("zones have their names and summer time", () => {
  const cases: [string, number, string, boolean][] = [
    ["Europe/Berlin", 1184500800, "2007-07-15 14:00 +0200 CEST", true],
    ["Europe/Berlin", 1168862400, "2007-01-15 13:00 +0100 CET", false],
    ["Europe/London", 1184500800, "2007-07-15 13:00 +0100 BST", true],
    ["America/New_York", 1184500800, "2007-07-15 08:00 -0400 EDT", true],
    ["America/New_York", 2215684800, "2040-03-18 08:00 -0400 EDT", true],
    ["Australia/Sydney", 1168862400, "2007-01-15 23:00 +1100 AEDT", true],
    ["Asia/Kolkata", 1168862400, "2007-01-15 17:30 +0530 IST", false],
    ["America/Argentina/Buenos_Aires", 1168862400, "2007-01-15 09:00 -0300 -03", false],
  ];
  for (const [zone, time, want, summer] of cases)
    inZone(zone, () => {
      assert.equal(format("%F %R %z %Z", time), want);
      assert.equal(breakDown(time, false)!.summer, summer, zone);
    });
});

test("mktime carries fields over and heeds isdst", () => {
  inZone("UTC", () => {
    assert.equal(localTime(at(2007, 3, 4), false), 1173009600);
    assert.equal(
      localTime(at(2007, 14, 32, 25, -1, 61), undefined),
      Date.UTC(2008, 1, 32, 25, -1, 61) / 1000,
    );
    assert.equal(localTime(at(2040, 1, 1, 0), false), 2208988800);
    assert.equal(localTime(at(99, 1, 1, 0), false), -59042995200);
    assert.equal(localTime(at(1e9, 1, 1), false), undefined);
    assert.equal(localTime(at(Number.NaN, 1, 1), false), undefined);
    // glibc takes an hour off where there is no summer time at all
    assert.equal(localTime(at(2007, 3, 4), true), 1173009600 - 3600);
  });
  inZone("Europe/Berlin", () => {
    assert.equal(localTime(at(2007, 7, 15), undefined), 1184493600);
    assert.equal(localTime(at(2007, 7, 15), true), 1184493600);
    assert.equal(localTime(at(2007, 7, 15), false), 1184493600 + 3600);
    assert.equal(localTime(at(2007, 1, 15), true), 1168858800 - 3600);
  });
});

test("what no calendar holds is undefined", () => {
  assert.equal(breakDown(1e20, false), undefined);
  assert.equal(breakDown(Number.NaN, true), undefined);
  assert.equal(breakDown(-1e11, true)!.year, -1199);
});
