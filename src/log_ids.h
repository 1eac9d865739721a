/*
 * The kinds of event that the journal can be asked for by MESSAGE_ID, each a random 128-bit number that never
 * changes; two more are in base/log.h and base/log_limit.h. A line of such a kind has its number in struct
 * log_about. sockd(8) lists them with these words: the event, and behind "with" the fields that each of its
 * lines has. Lines of workers have WORKER and GENERATION as well, those of the spawner GENERATION.
 */
#ifndef SOCKD_LOG_IDS_H
#define SOCKD_LOG_IDS_H

/* the daemon serves. */
#define LOG_ID_STARTED "fc589dec73db40f19e370b0c01a6071f"
/* where the exporter listens. */
#define LOG_ID_METRICS "777b2403feb74b6b9b05ba30784d922e"
/* the daemon stops. */
#define LOG_ID_STOPPING "dc1a267085f3441bad64038302c325b5"
/* the daemon has stopped. */
#define LOG_ID_STOPPED "08832c19f77c4058bec991de841a763b"
/* an error of the configuration, or a warning about it. */
#define LOG_ID_CONFIGURATION "072b1b63f844413b92037b4de775dd02"
/* there is no control socket; or it was gone, and is made anew. */
#define LOG_ID_NO_CONTROL "3b706b3c0dca41579578bbb077e9ae7c"
/* a reload put a configuration to work. */
#define LOG_ID_RELOADED "1a7564c911104e749b8eb4909195a3b3"
/* a reload failed. */
#define LOG_ID_RELOAD_FAILED "b518c9f850e24621b6d9364f059e0714"
/* a reload waits for an older generation to end; with GENERATION. */
#define LOG_ID_RELOAD_WAITS "f24c5514529145a4990052c4655e066f"
/* the master becomes another program. */
#define LOG_ID_UPGRADING "ad99640bc4b64c3baedd4e17624688fe"
/* an upgraded master serves. */
#define LOG_ID_UPGRADED "85c97c452fcc4f41ba4fbeba7aff67cd"
/* an upgrade was refused, or its new generation did not start. */
#define LOG_ID_UPGRADE_FAILED "4f65fe6f7b04427c8481f321c91384ca"
/* a change by sockctl or a signal, the peer being who asked, where it is not the terminal; with PEER. */
#define LOG_ID_CONTROL "71baf3f68a914493aac5b13a449ed41c"
/* a change that sockctl was not permitted; with PEER. */
#define LOG_ID_CONTROL_DENIED "f47efecb108642929170b41acf655c0c"
/* a worker, the spawner or the exporter died, or could not be started. */
#define LOG_ID_PROCESS_DIED "ab5a76023e5147b1b49291bb989672b3"
/* a process was silent for worker_timeout, and is ended. */
#define LOG_ID_PROCESS_SILENT "4b055709be864f388199d996a7d25d22"
/* a process that had died serves again; with GENERATION. */
#define LOG_ID_PROCESS_BACK "542eb89778bf4dd1ac69c4c3cb05aed6"
/* a generation did not end in time, and is killed; with GENERATION. */
#define LOG_ID_GENERATION_LATE "7df90d2cf6504ddeaf5c1b94df1540b8"
/* the handler of a service does not work; with SERVICE, GENERATION. */
#define LOG_ID_SERVICE_DEGRADED "626076749740432e9485329b3973dd3a"
/* the handler of a service works again; with SERVICE, GENERATION. */
#define LOG_ID_SERVICE_WELL "9cd25d27990c4eb18b4a0b250b5b66f8"
/* clients wait or are refused: all helpers are busy, a limit is reached; with SERVICE. */
#define LOG_ID_SHORTAGE "3652b377c19f4e7c929f36df4b3a1500"
/* clients are served as ever again; with SERVICE. */
#define LOG_ID_SHORTAGE_OVER "58678790be4344a29be1cbfa40272cb4"
/* a helper died, was ended, or could not be started; with SERVICE. */
#define LOG_ID_HELPER_ENDED "263b169a12a6476ab30238414257bc5f"
/* what a helper wrote that is no reply; with SERVICE. */
#define LOG_ID_HELPER_SAID "03352ec1774b4fedb28bfebdedbe0b7d"
/* a line that a helper or a program wrote to its standard error; with SERVICE. */
#define LOG_ID_STDERR "c5088eb2c9de41db887a5420b5b9fe17"
/* a program was started for a connection; with SERVICE, PEER. */
#define LOG_ID_PROGRAM_STARTED "477858d92265456fb1f435bb468806a8"
/* a program ended; with SERVICE, PEER. */
#define LOG_ID_PROGRAM_ENDED "e93ad871f88a48c5b65efab6af16db34"
/* a program could not be started; with SERVICE. */
#define LOG_ID_PROGRAM_FAILED "92e75c1d82014e04bbe8954f4b64ccc2"
/* what a plug-in has to say; with SERVICE. */
#define LOG_ID_PLUGIN "eb3db40309774a0d827e1f67528c661e"
/* a connection was accepted; with SERVICE, PEER. */
#define LOG_ID_CONNECTED "57e9c6ae4ea34121aea4b6df864e9dc6"
/* a connection ended; with SERVICE, PEER. */
#define LOG_ID_CLOSED "2e23fe77b09b4b49a9a9d067d7df389b"
/* a connection was refused; with SERVICE, PEER. */
#define LOG_ID_REFUSED "ea8bed4e0f564ab9b66d1760eacb5773"
/* a request was answered; with SERVICE, PEER. */
#define LOG_ID_REQUEST "00050be65464423e97299d3c3cb1e9a9"
/* a request could not be answered; with SERVICE, PEER. */
#define LOG_ID_REQUEST_FAILED "9fb2b983cdc94b3d85c081c25ff99a89"
/* connections cannot be accepted; with SERVICE. */
#define LOG_ID_ACCEPT_FAILED "a4af1afbd47b478a90fed498cc433cbe"
/* the system, or one of its own processes, failed the daemon. */
#define LOG_ID_FAULT "ff958f0fa3714adf820ff0c1115b7645"

#endif
