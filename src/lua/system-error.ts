/**
 * What scripts are told when the system refuses something: C's words and
 * number, as strerror gives them, whatever wording Node uses.
 */

export interface SystemFailure {
  readonly message: string;
  /** Linux errno. */
  readonly errno: number;
}

/** Code, errno, glibc's text; the ones that file operations give. */
const KNOWN: readonly (readonly [code: string, errno: number, message: string])[] = [
  ["EPERM", 1, "Operation not permitted"],
  ["ENOENT", 2, "No such file or directory"],
  ["EINTR", 4, "Interrupted system call"],
  ["EIO", 5, "Input/output error"],
  ["ENXIO", 6, "No such device or address"],
  ["EBADF", 9, "Bad file descriptor"],
  ["EAGAIN", 11, "Resource temporarily unavailable"],
  ["ENOMEM", 12, "Cannot allocate memory"],
  ["EACCES", 13, "Permission denied"],
  ["EBUSY", 16, "Device or resource busy"],
  ["EEXIST", 17, "File exists"],
  ["EXDEV", 18, "Invalid cross-device link"],
  ["ENODEV", 19, "No such device"],
  ["ENOTDIR", 20, "Not a directory"],
  ["EISDIR", 21, "Is a directory"],
  ["EINVAL", 22, "Invalid argument"],
  ["ENFILE", 23, "Too many open files in system"],
  ["EMFILE", 24, "Too many open files"],
  ["ETXTBSY", 26, "Text file busy"],
  ["EFBIG", 27, "File too large"],
  ["ENOSPC", 28, "No space left on device"],
  ["ESPIPE", 29, "Illegal seek"],
  ["EROFS", 30, "Read-only file system"],
  ["EMLINK", 31, "Too many links"],
  ["ENAMETOOLONG", 36, "File name too long"],
  ["ENOTEMPTY", 39, "Directory not empty"],
  ["ELOOP", 40, "Too many levels of symbolic links"],
  ["EOVERFLOW", 75, "Value too large for defined data type"],
  ["EDQUOT", 122, "Disk quota exceeded"],
];

/** What is the service's own and no script's. */
export const CLOSED: SystemFailure = { message: "Permission denied: no file for scripts", errno: 13 };

/** The failure with this name, e.g. "EBADF". The name must be in the table above. */
export function failure(code: string): SystemFailure {
  const known = KNOWN.find(([name]) => name === code);
  if (known === undefined) throw new Error(`no text for ${code}`);
  return { message: known[2], errno: known[1] };
}

/** The failure that a thrown error stands for. Throws the error again when it is no system error. */
export function failureOf(error: unknown): SystemFailure {
  const { code, errno, message } = error as NodeJS.ErrnoException;
  const known = KNOWN.find(([name]) => name === code);
  if (known !== undefined) return { message: known[2], errno: known[1] };
  if (typeof code !== "string" || typeof errno !== "number") throw error;
  return { message: message.replace(/^[A-Z0-9]+: /, "").replace(/,.*$/s, ""), errno: -errno };
}

export function isFailure(value: unknown): value is SystemFailure {
  return typeof value === "object" && value !== null && "errno" in value && "message" in value;
}
