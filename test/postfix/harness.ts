/**
 * What tests on a real Postfix share. Such tests fail where the set-up script
 * could have made them possible (root), and are skipped, with a loud line,
 * for other users.
 */
import { type TestContext, test } from "node:test";
import { type Parameters, whyNoPostfix } from "../../postfix/layout.ts";
import { PrivatePostfix } from "../../postfix/private-instance.ts";
import { PostluaService, type ServiceOptions } from "../../postfix/service.ts";
import { Sink, type SinkOptions } from "../../postfix/sink.ts";

let told = false;

/** A test that needs a private Postfix. */
export function postfixTest(name: string, body: (context: TestContext) => Promise<void>): void {
  if (process.getuid?.() === 0) {
    test(name, body);
    return;
  }
  const skip = `NOT RUN: ${whyNoPostfix()}`;
  if (!told) process.stderr.write(`\n*** ${skip}; tests on a real Postfix are skipped ***\n\n`);
  told = true;
  test(name, { skip }, () => {});
}

export interface ServedOptions
  extends Pick<
    ServiceOptions,
    "scripts" | "config" | "workers" | "main" | "doors" | "policyConfig" | "policyListen"
  > {
  /** A function is given the address for check_policy_service. */
  readonly mainCf?: Parameters | ((policy: string) => Parameters);
  /** Further services, as PrivatePostfix takes them. */
  readonly masterCf?: Parameters;
  readonly sink?: SinkOptions;
  /** postlua is shown mail that did not come by SMTP, too. */
  readonly internal?: boolean;
  /** What has to be there before both start. */
  readonly before?: (parts: Pick<Served, "postfix" | "postlua">) => Promise<void>;
}

/** As README.md tells admins. */
function shownInternal(milter: string): Parameters {
  return {
    non_smtpd_milters: `{ ${milter}, default_action=accept }`,
    internal_mail_filter_classes: "bounce, notify",
  };
}

/** A private Postfix that asks postlua, with everything delivered to a sink. */
export class Served {
  readonly sink: Sink;
  readonly postfix: PrivatePostfix;
  readonly postlua: PostluaService;

  private constructor(sink: Sink, postfix: PrivatePostfix, postlua: PostluaService) {
    this.sink = sink;
    this.postfix = postfix;
    this.postlua = postlua;
  }

  static async start(options: ServedOptions): Promise<Served> {
    const sink = await Sink.start(options.sink);
    const postfix = PrivatePostfix.create({ sinkPort: sink.port, masterCf: options.masterCf ?? {} });
    const { scratch, configDirectory } = postfix;
    const postlua = new PostluaService({ scratch, configDirectory, ...options });
    const served = new Served(sink, postfix, postlua);
    try {
      const internal = options.internal === true ? shownInternal(postlua.milter) : {};
      const { mainCf, doors = ["milter"] } = options;
      await postfix.postconf({
        smtpd_milters: doors.includes("milter") ? postlua.milter : "",
        ...internal,
        ...(typeof mainCf === "function" ? mainCf(postlua.policy) : mainCf),
      });
      await options.before?.(served);
      await Promise.all([postfix.start(), postlua.start()]);
    } catch (error) {
      await served[Symbol.asyncDispose]();
      throw error;
    }
    return served;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Postfix first: its open sessions would hold up the orderly stop of postlua.
    await this.postfix.stop();
    await this.postlua.stop();
    await this.postfix.remove();
    await this.sink.stop();
  }
}
